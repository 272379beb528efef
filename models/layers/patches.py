"""Images to patches, and the positions of patches."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.errors import ModelError


def check_image(pixel_values: torch.Tensor, channels: int) -> None:
    """Refuse what is no batch of images.

    Args:
        pixel_values (Tensor): expected [b, c, h, w].
        channels: c.

    Raises:
        ModelError: another number of dimensions or channels.
    """
    if pixel_values.ndim != 4 or pixel_values.shape[1] != channels or 0 in pixel_values.shape:
        raise ModelError(
            f"pixel_values has shape {tuple(pixel_values.shape)}, "
            f"expected [images, {channels}, height, width]",
            where="pixel_values",
            fix="prepare images with the model's own image processor",
        )


def require_size(pixel_values: torch.Tensor, size: int, patch: int) -> None:
    """Refuse images of another size than a model has positions for.

    Args:
        pixel_values (Tensor): [b, c, h, w]
        size: pixels a side.
        patch: pixels of a patch's side.

    Raises:
        ModelError: names both sizes.
    """
    height, width = pixel_values.shape[-2:]
    if (height, width) != (size, size):
        raise ModelError(
            f"images are {height} x {width} pixels, but the model takes {size} x {size}, "
            f"in patches of {patch}",
            where="pixel_values",
            fix="prepare images with the model's own image processor, or ask for "
            "interpolate_pos_encoding",
        )


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`, which is made without values on the meta device."""

    def reset_parameters(self) -> None:
        """Random values, except on the meta device: there torch would import its compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()


class PatchEmbedding(Conv2d):
    """A linear over the pixels of each patch.

    Args:
        channels: of an image.
        size: d.
        patch: pixels of a patch's side.
        bias: whether there is one.
    """

    def __init__(self, channels: int, size: int, patch: int, *, bias: bool = True) -> None:
        super().__init__(channels, size, kernel_size=patch, stride=patch, bias=bias)

    @property
    def patch(self) -> int:
        """Pixels of a patch's side."""
        return self.kernel_size[0]

    def grid(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of patches. Pixels beyond the last whole patch are not looked at."""
        height, width = pixel_values.shape[-2:]
        return height // self.patch, width // self.patch

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed patches.

        Args:
            pixel_values (Tensor): [b, c, h, w]

        Returns:
            [b, rows * columns, d], row by row

        Raises:
            ModelError: no images, other channels, or less than a patch.
        """
        check_image(pixel_values, self.in_channels)
        if 0 in self.grid(pixel_values):
            height, width = pixel_values.shape[-2:]
            raise ModelError(
                f"images are {height} x {width} pixels, less than one patch of {self.patch} x "
                f"{self.patch}",
                where="pixel_values",
            )
        return super().forward(pixel_values.to(self.weight.dtype)).flatten(2).transpose(1, 2)


def resized_positions(
    table: torch.Tensor, rows: int, columns: int, *, antialias: bool = False
) -> torch.Tensor:
    """Position embeddings of a square of patches for another number of them, bicubic.

    Args:
        table (Tensor): [n * n, d]
        rows: of patches.
        columns: of patches.
        antialias: smooth while shrinking.

    Returns:
        [rows * columns, d]
    """
    side = math.isqrt(len(table))
    if (rows, columns) == (side, side):
        return table
    square = table.unflatten(0, (side, side)).permute(2, 0, 1)[None]
    resized = F.interpolate(
        square.float(), (rows, columns), mode="bicubic", align_corners=False, antialias=antialias
    )
    return resized[0].permute(1, 2, 0).flatten(0, 1).to(table.dtype)


def image_positions(
    table: torch.Tensor, grid: tuple[int, int], *, leading: int, antialias: bool = False
) -> torch.Tensor:
    """Position embeddings of the tokens before the patches, and of a grid of patches.

    Args:
        table (Tensor): [leading + n * n, d]
        grid: rows and columns of patches.
        leading: tokens before the patches.
        antialias: smooth while shrinking.

    Returns:
        [leading + rows * columns, d]
    """
    patches = resized_positions(table[leading:], *grid, antialias=antialias)
    return torch.cat((table[:leading], patches)) if leading else patches


def positions_of_shapes(table: torch.Tensor, shapes: torch.Tensor, length: int) -> torch.Tensor:
    """Position embeddings of a square of patches for images of several shapes, bilinear.

    What `F.interpolate` with antialiasing gives each image, as one product: nothing is read back
    from the device, and a compiled graph serves all shapes. An image one patch wide gets what it
    should, where torch 2.13, and transformers with it, give all its rows the same position.

    Args:
        table (Tensor): [n * n, d]
        shapes (Tensor): [b, 2], rows and columns of patches of each image.
        length: tokens of a row; those after an image's patches are padding.

    Returns:
        [b, length, d]; padding has the position of the first patch
    """
    side = math.isqrt(len(table))
    rows, columns = shapes[:, :1], shapes[:, 1:]
    at = torch.arange(length, device=shapes.device).expand(len(shapes), -1)
    at = at.masked_fill(at >= rows * columns, 0)
    down = _triangles(at // columns, rows, side)
    across = _triangles(at % columns, columns, side)
    weights = (down[..., :, None] * across[..., None, :]).flatten(2)
    return (weights @ table.float()).to(table.dtype)


def _triangles(at: torch.Tensor, count: torch.Tensor, side: int) -> torch.Tensor:
    """How much each of `side` places counts for a place among `count` on the same line.

    Args:
        at (Tensor): [b, s], from 0.
        count (Tensor): [b, 1]
        side: of the table.

    Returns:
        [b, s, side], rows with the sum 1
    """
    step = side / count[..., None]
    centre = (at[..., None] + 0.5) * step
    apart = (torch.arange(side, device=at.device) + 0.5 - centre).abs()
    weights = (1 - apart / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)


def masked_patches(
    patches: torch.Tensor, hidden: torch.Tensor | None, token: torch.Tensor | None
) -> torch.Tensor:
    """Put the mask token in the places of hidden patches.

    Args:
        patches (Tensor): [b, n, d]
        hidden (Tensor): [b, n] of 0/1; None: no patch is hidden.
        token (Tensor): [..., d]; None: the model has none.

    Returns:
        [b, n, d]

    Raises:
        ModelError: patches to hide and no token, or another number of them than there are.
    """
    if hidden is None:
        return patches
    if token is None:
        raise ModelError(
            "this model has no mask token, so it takes no bool_masked_pos",
            where="bool_masked_pos",
            fix="load it for the task masked-image-modeling, where the family has it",
        )
    if hidden.shape != patches.shape[:2]:
        raise ModelError(
            f"bool_masked_pos has shape {tuple(hidden.shape)}, but the images have "
            f"{tuple(patches.shape[:2])} patches",
            where="bool_masked_pos",
        )
    return torch.where(hidden.bool()[..., None], token.reshape(-1), patches)


def image_or_embeds(
    pixel_values: torch.Tensor | None, inputs_embeds: torch.Tensor | None
) -> torch.Tensor:
    """The one of the two that is given.

    Raises:
        ModelError: both or neither are.
    """
    given = [each for each in (pixel_values, inputs_embeds) if each is not None]
    if len(given) != 1:
        raise ModelError("give exactly one of pixel_values and inputs_embeds")
    return given[0]
