"""SigLIP 2's image processor (NaFlex): as many patches as allowed, in the image's own shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.processors.features import Features
from tfcli.processors.images.pad import pad_first
from tfcli.processors.images.patches import check_divides, rows_of_patches
from tfcli.processors.images.processor import ImageProcessor, scaled
from tfcli.processors.images.resize import BILINEAR, resize
from tfcli.processors.images.scale import STANDARD_MEAN, STANDARD_STD
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import Pair, check_made


@dataclass(frozen=True, kw_only=True)
class Siglip2Settings(ImageSettings):
    """The size follows from the image.

    Args:
        patch_size: the side of a patch, in pixels.
        max_num_patches: as many are given for each image; those it has not are zeros.
    """

    patch_size: int = 16
    max_num_patches: int = 256

    needs_size: ClassVar[bool] = False

    def check(self) -> None:
        super().check()
        for key in ("patch_size", "max_num_patches"):
            if getattr(self, key) < 1:
                raise WorkError("must be at least 1", where=key)
        check_made(self.patch_size**2 * self.max_num_patches, "max_num_patches")


class Siglip2ImageProcessor(ImageProcessor):
    """Patches, which of them are the image's, and how they lie.

    `pixel_values` [b, n, p · p · c], `pixel_attention_mask` [b, n] (1, and 0 behind the image's
    patches), `spatial_shapes` [b, 2]: rows and columns.
    """

    names = ("Siglip2ImageProcessor",)
    inputs = ("pixel_values", "pixel_attention_mask", "spatial_shapes")
    defaults = Siglip2Settings(
        do_resize=True,
        resample=BILINEAR,
        do_rescale=True,
        do_normalize=True,
        image_mean=STANDARD_MEAN,
        image_std=STANDARD_STD,
    )

    def process(self, images: Sequence[Tensor], settings: Siglip2Settings) -> Features:
        patch, most = settings.patch_size, settings.max_num_patches
        values, masks, shapes = [], [], []
        for image in images:
            if settings.do_resize:
                size = fitting_size(image.shape[-2], image.shape[-1], patch, most)
                image = resize(image, size, settings.resample or 0)
            height, width = image.shape[-2:]
            check_divides((height, width), patch)
            shape = (height // patch, width // patch)
            if math.prod(shape) > most:
                raise WorkError(
                    f"an image has {shape[0]} x {shape[1]} patches; max_num_patches is {most}",
                    fix="set do_resize, or give smaller images",
                )
            values.append(pad_first(rows_of_patches(scaled(image, settings), patch), most))
            masks.append((torch.arange(most) < math.prod(shape)).int())
            shapes.append(shape)
        return Features(
            pixel_values=torch.stack(values),
            pixel_attention_mask=torch.stack(masks),
            spatial_shapes=torch.tensor(shapes),
        )


def fitting_size(height: int, width: int, patch: int, most: int) -> Pair:
    """The largest size of about the image's shape that has `most` patches at most.

    Found as transformers' `get_image_size_for_max_num_patches` does, by halving the range of scales
    until it is narrower than 1e-5: another way would round differently.
    """

    def side(scale: float, length: int) -> int:
        return max(patch, math.ceil(length * scale / patch) * patch)

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        scale = (low + high) / 2
        if (side(scale, height) / patch) * (side(scale, width) / patch) <= most:
            low = scale
        else:
            high = scale
    return side(low, height), side(low, width)
