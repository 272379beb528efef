"""LLaVA-NeXT's image processor: the whole image, and tiles of it at a resolution near its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.multimodal.anyres import best_resolution
from tfcli.processors.features import Features
from tfcli.processors.images.clip import CLIPImageProcessor
from tfcli.processors.images.pad import pad_around, pad_first
from tfcli.processors.images.processor import ImageProcessor, stacked, steps_of_parts
from tfcli.processors.images.resize import resize
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import Pair, check_made
from tfcli.processors.images.tiles import cut_tiles, fitted


@dataclass(frozen=True, kw_only=True)
class LlavaNextSettings(ImageSettings):
    """`do_pad` fills images of fewer tiles up with tiles of zeros.

    Args:
        image_grid_pinpoints: the resolutions to choose from, heights and widths.
    """

    image_grid_pinpoints: tuple[tuple[int, int], ...] = (
        (336, 672),
        (672, 336),
        (672, 672),
        (1008, 336),
        (336, 1008),
    )

    needs_pad_size: ClassVar[bool] = False

    def check(self) -> None:
        super().check()
        if not self.image_grid_pinpoints or min(map(min, self.image_grid_pinpoints)) < 1:
            raise WorkError(
                "must be resolutions of at least one pixel", where="image_grid_pinpoints"
            )
        for height, width in self.image_grid_pinpoints:
            check_made(height * width, "image_grid_pinpoints")
        if self.size is None or self.size.max_height or self.size.max_width:
            raise WorkError("must say height and width, or shortest_edge", where="size")

    @property
    def whole(self) -> Pair:
        """The height and width of the whole image, in small."""
        assert self.size is not None  # `check` has seen to it
        side = self.size.shortest_edge or 0
        return self.size.height or side, self.size.width or side

    @property
    def tile(self) -> int:
        """The side of a tile."""
        return (self.crop_size and self.crop_size.height) or self.whole[0]


class LlavaNextImageProcessor(ImageProcessor):
    """Tiles, and how large the images were.

    `pixel_values` [b, n, 3, 224, 224]: first the whole image, then its tiles row by row, then
    zeros; `image_sizes` [b, 2]: heights and widths as the images came.
    """

    names = ("LlavaNextImageProcessor",)
    inputs = ("pixel_values", "image_sizes")
    defaults = LlavaNextSettings(**vars(CLIPImageProcessor.defaults) | {"do_pad": True})

    def process(self, images: Sequence[Tensor], settings: LlavaNextSettings) -> Features:
        made = [stacked(steps_of_parts(parts(image, settings), settings)) for image in images]
        if settings.do_pad:
            most = max(map(len, made))
            made = [pad_first(tiles, most) for tiles in made]
        sizes = [tuple(image.shape[-2:]) for image in images]
        return Features(pixel_values=stacked(made), image_sizes=torch.tensor(sizes))


def parts(image: Tensor, settings: LlavaNextSettings) -> list[Tensor]:
    """The whole of an image [c, h, w] in small, and its tiles."""
    filter = settings.resample or 0
    height, width = image.shape[-2:]
    resolution = best_resolution(height, width, settings.image_grid_pinpoints)
    large = pad_around(resize(image, fitted(height, width, resolution), filter), resolution)
    return [resize(image, settings.whole, filter), *cut_tiles(large, settings.tile)]
