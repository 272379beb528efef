"""Qwen2-VL's image processor: patches of an image near its own size, in one row for all images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.processors.features import Features
from tfcli.processors.images.patches import check_divides, merged_patches
from tfcli.processors.images.processor import ImageProcessor, scaled
from tfcli.processors.images.resize import BICUBIC, resize
from tfcli.processors.images.scale import CLIP_MEAN, CLIP_STD
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import Pair, Size, check_made

LONGEST_RATIO = 200  # of an image's sides, beyond which transformers refuses it too


@dataclass(frozen=True, kw_only=True)
class Qwen2VLSettings(ImageSettings):
    """`size` bounds the number of pixels: `shortest_edge` is the least, `longest_edge` the most.

    Args:
        patch_size: the side of a patch, in pixels.
        temporal_patch_size: frames of one patch; an image is as many equal ones.
        merge_size: the side of a square of patches that become one feature.
        min_pixels, max_pixels: older names of the bounds in `size`, over which they count.
    """

    patch_size: int = 14
    temporal_patch_size: int = 2
    merge_size: int = 2
    min_pixels: int | None = None
    max_pixels: int | None = None

    def spelled(self, values: dict[str, Any]) -> dict[str, Any]:
        size = values.get("size", self.size)
        size = size.written() if isinstance(size, Size) else size
        names = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}
        if isinstance(size, dict):
            size = {names.get(key, key): value for key, value in size.items()}
            for older, name in names.items():
                if values.get(older) is not None:
                    size[name] = values.pop(older)
        return super().spelled(values | {"size": size})

    def check(self) -> None:
        super().check()
        for key in ("patch_size", "temporal_patch_size", "merge_size"):
            if getattr(self, key) < 1:
                raise WorkError("must be at least 1", where=key)
        size = self.size
        if self.do_resize and not (size and size.shortest_edge and size.longest_edge):
            raise WorkError("must say shortest_edge and longest_edge", where="size")

    @property
    def unit(self) -> int:
        """What both sides of an image are multiples of, in pixels."""
        return self.patch_size * self.merge_size


class Qwen2VLImageProcessor(ImageProcessor):
    """Patches of all images, and the grid of each.

    `pixel_values` [patches, c · temporal · p · p], `image_grid_thw` [b, 3]: patches in time, which
    is one, rows and columns.
    """

    names = ("Qwen2VLImageProcessor", "Qwen2_5_VLImageProcessor")
    inputs = ("pixel_values", "image_grid_thw")
    defaults = Qwen2VLSettings(
        do_convert_rgb=True,
        do_resize=True,
        size=Size(shortest_edge=56 * 56, longest_edge=28 * 28 * 1280),
        default_to_square=False,
        resample=BICUBIC,
        do_rescale=True,
        do_normalize=True,
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    )

    def process(self, images: Sequence[Tensor], settings: Qwen2VLSettings) -> Features:
        made = []
        for image in images:
            frame = framed(image, settings)[None]
            made.append(patched(frame.expand(settings.temporal_patch_size, -1, -1, -1), settings))
        return Features(
            pixel_values=torch.cat([patches for patches, _ in made]),
            image_grid_thw=torch.tensor([grid for _, grid in made]),
        )


def framed(image: Tensor, settings: Qwen2VLSettings) -> Tensor:
    """An image [c, h, w] resized and scaled, its sides multiples of `settings.unit`."""
    if settings.do_resize:
        size = within_pixels(image.shape[-2], image.shape[-1], settings)
        check_made(math.prod(size) * settings.temporal_patch_size, "size")
        image = resize(image, size, settings.resample or 0)
    check_divides((image.shape[-2], image.shape[-1]), settings.unit)
    return scaled(image, settings)


def patched(frames: Tensor, settings: Qwen2VLSettings) -> tuple[Tensor, tuple[int, int, int]]:
    """The patches of frames [t, c, h, w], and how many there are in time, rows and columns."""
    patch, temporal = settings.patch_size, settings.temporal_patch_size
    time, _, height, width = frames.shape
    patches = merged_patches(frames.float(), patch, settings.merge_size, temporal)
    return patches, (time // temporal, height // patch, width // patch)


def within_pixels(height: int, width: int, settings: Qwen2VLSettings) -> Pair:
    """The size nearest to the image's whose sides `unit` divides and whose pixels are in bounds.

    The roundings are those of transformers' `smart_resize`.

    Raises:
        WorkError: one side is more than 200 times the other.
    """
    if max(height, width) / min(height, width) > LONGEST_RATIO:
        raise WorkError(
            f"an image of {height} x {width} pixels is more than {LONGEST_RATIO} times as long as "
            "it is wide",
            fix="crop it",
        )
    assert settings.size is not None  # `check` has seen to it
    least, most = settings.size.shortest_edge or 1, settings.size.longest_edge or 1
    unit = settings.unit
    rows, columns = round(height / unit), round(width / unit)
    if rows * columns * unit * unit > most:
        shrink = math.sqrt(height * width / most)
        rows = max(1, math.floor(height / shrink / unit))
        columns = max(1, math.floor(width / shrink / unit))
    elif rows * columns * unit * unit < least:
        grow = math.sqrt(least / (height * width))
        rows, columns = math.ceil(height * grow / unit), math.ceil(width * grow / unit)
    return rows * unit, columns * unit
