"""Images of any resolution as tiles, and their features packed (LLaVA-NeXT; Liu et al. 2024).

The names are those of transformers' functions, for callbacks of one's own: see
`ModalEncoderModule`. Sizes are heights and widths, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from tfcli.models.errors import ModelError

Size = tuple[int, int]


def best_resolution(height: int, width: int, choices: Sequence[Sequence[int]]) -> Size:
    """The resolution in which most of an image's pixels survive; of equals, the smallest.

    Args:
        height: of the image.
        width: of the image.
        choices: heights and widths.
    """

    def quality(choice: Sequence[int]) -> tuple[int, int]:
        scale = min(choice[1] / width, choice[0] / height)
        kept = min(int(width * scale) * int(height * scale), height * width)
        return kept, kept - choice[0] * choice[1]

    best = max(choices, key=quality)
    return best[0], best[1]


def get_anyres_image_grid_shape(
    image_size: Sequence[int] | torch.Tensor,
    grid_pinpoints: Sequence[Sequence[int]],
    patch_size: int,
) -> Size:
    """Rows and columns of an image's tiles.

    Args:
        image_size: height and width of the image as it came; a tensor is int [2].
        grid_pinpoints: the resolutions to choose from.
        patch_size: the side of a tile.
    """
    height, width = best_resolution(*size_of(image_size), grid_pinpoints)
    return height // patch_size, width // patch_size


def image_size_to_num_patches(
    image_size: Sequence[int] | torch.Tensor,
    grid_pinpoints: Sequence[Sequence[int]],
    patch_size: int,
) -> int:
    """How many tiles an image is cut into, the whole of it in small among them.

    Arguments are those of `get_anyres_image_grid_shape`.
    """
    height, width = best_resolution(*size_of(image_size), grid_pinpoints)
    return math.ceil(height / patch_size) * math.ceil(width / patch_size) + 1


def unpad_image(tensor: torch.Tensor, original_size: Sequence[int] | torch.Tensor) -> torch.Tensor:
    """Cut off the border with which an image was padded to the shape of its tiles.

    Args:
        tensor (Tensor): [d, h, w], features of the padded image.
        original_size: height and width of the image as it came.

    Returns:
        [d, h', w'], one of which is as before
    """
    height, width = size_of(original_size)
    rows, columns = tensor.shape[1:]
    # The roundings are the reference's: the processor counts features with them.
    if width / height > columns / rows:
        border = (rows - int(round(height * (columns / width), 7))) // 2
        return tensor[:, border : rows - border]
    border = (columns - int(round(width * (rows / height), 7))) // 2
    return tensor[:, :, border : columns - border]


def pack_image_features(
    image_features: Sequence[torch.Tensor],
    image_sizes: Sequence[Any] | torch.Tensor,
    image_newline: torch.Tensor | None,
    *,
    grid_pinpoints: Sequence[Sequence[int]],
    image_size: int,
    patch_size: int,
) -> tuple[list[torch.Tensor], list[int]]:
    """Features of each image: those of the whole, then those of its tiles, row by row.

    Args:
        image_features (Tensor): [tiles, patches, d] for each image, the whole first.
        image_sizes: height and width of each image as it came; a tensor is int [images, 2].
        image_newline (Tensor): [d], put at the end of each row; None: nothing is.
        grid_pinpoints: the resolutions that images were cut at.
        image_size: the side of a tile.
        patch_size: the side of a patch.

    Returns:
        for each image its features, [n, d], and their number

    Raises:
        ModelError: the tiles or their patches are not as many as the sizes say.
    """
    side = image_size // patch_size
    packed = []
    for features, size in zip(image_features, image_sizes, strict=True):
        whole, tiles = features[0], features[1:]
        if len(tiles) == 0:
            newline = [] if image_newline is None else [image_newline[None].to(whole)]
            packed.append(torch.cat([whole, *newline]))
            continue
        rows, columns = get_anyres_image_grid_shape(size, grid_pinpoints, image_size)
        if tiles.shape[:2] != (rows * columns, side * side):
            raise ModelError(
                f"an image of {size_of(size)} pixels has {tuple(tiles.shape[:2])} tiles and "
                f"patches, expected {(rows * columns, side * side)}",
                where="pixel_values",
                fix="prepare images with the model's own image processor",
            )
        # [rows, columns, side, side, d] -> [d, rows * side, columns * side]
        grid = tiles.unflatten(1, (side, side)).unflatten(0, (rows, columns))
        grid = grid.permute(4, 0, 2, 1, 3).flatten(3).flatten(1, 2)
        grid = unpad_image(grid, size)
        if image_newline is not None:
            ends = image_newline[:, None, None].expand(-1, grid.shape[1], 1)
            grid = torch.cat((grid, ends.to(grid)), dim=-1)
        packed.append(torch.cat((whole, grid.flatten(1).t())))
    return packed, [len(each) for each in packed]


def size_of(size: Sequence[int] | torch.Tensor) -> Size:
    """Height and width as numbers."""
    height, width = size.tolist() if isinstance(size, torch.Tensor) else size
    return int(height), int(width)
