"""Gemma 3's image processor: the whole image, and crops of one that is long (pan and scan)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.limits import MAX_TILES
from tfcli.processors.features import Features
from tfcli.processors.images.processor import ImageProcessor, stacked, steps_of_parts
from tfcli.processors.images.resize import BILINEAR
from tfcli.processors.images.scale import STANDARD_MEAN, STANDARD_STD
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import Size


@dataclass(frozen=True, kw_only=True)
class Gemma3Settings(ImageSettings):
    """What pan and scan asks for.

    Args:
        do_pan_and_scan: also give crops along the longer side of a long image.
        pan_and_scan_min_crop_size: no side of a crop is shorter, in pixels.
        pan_and_scan_max_num_crops: no image has more.
        pan_and_scan_min_ratio_to_activate: how many times longer than the other the longer side is
            at least.
    """

    do_pan_and_scan: bool | None = None
    pan_and_scan_min_crop_size: int | None = None
    pan_and_scan_max_num_crops: int | None = None
    pan_and_scan_min_ratio_to_activate: float | None = None

    def check(self) -> None:
        super().check()
        for key in ("min_crop_size", "max_num_crops", "min_ratio_to_activate"):
            value = getattr(self, f"pan_and_scan_{key}")
            if self.do_pan_and_scan and (value is None or value < 1):
                raise WorkError("must be at least 1 for pan and scan", where=f"pan_and_scan_{key}")
        if (self.pan_and_scan_max_num_crops or 0) > MAX_TILES:
            raise WorkError(f"{MAX_TILES:,} at most are made", where="pan_and_scan_max_num_crops")


class Gemma3ImageProcessor(ImageProcessor):
    """Images, and how many crops follow each.

    `pixel_values` [b + crops, 3, 224, 224]: every image and behind it its crops; `num_crops` [b].
    """

    names = ("Gemma3ImageProcessor",)
    inputs = ("pixel_values", "num_crops")
    defaults = Gemma3Settings(
        do_convert_rgb=True,
        do_resize=True,
        size=Size(height=224, width=224),
        resample=BILINEAR,
        do_rescale=True,
        do_normalize=True,
        image_mean=STANDARD_MEAN,
        image_std=STANDARD_STD,
    )

    def process(self, images: Sequence[Tensor], settings: Gemma3Settings) -> Features:
        made, counts = [], []
        for image in images:
            crops = pan_and_scan(image, settings) if settings.do_pan_and_scan else []
            made += steps_of_parts([image, *crops], settings)
            counts.append(len(crops))
        return Features(pixel_values=stacked(made), num_crops=torch.tensor(counts))


def pan_and_scan(image: Tensor, settings: Gemma3Settings) -> list[Tensor]:
    """Crops of an image [c, h, w] side by side along its longer side; none of one that is not long.

    As many as the longer side has times the shorter, rounded, at least two.
    """
    height, width = image.shape[-2:]
    short, long = sorted((height, width))
    least = settings.pan_and_scan_min_crop_size or 1
    if long / short < (settings.pan_and_scan_min_ratio_to_activate or 1):
        return []
    count = max(2, min(math.floor(long / least), math.floor(long / short + 0.5)))
    count = min(settings.pan_and_scan_max_num_crops or 1, count)
    step = math.ceil(long / count)
    if min(step, short) < least:
        return []
    if step * (count - 1) >= long:
        raise WorkError(
            f"an image of {height} x {width} pixels has no {count} crops of {step} pixels",
            where="pan_and_scan_min_crop_size",
            fix="ask for larger crops",
        )
    places = itertools.pairwise([*range(0, long, step), long])
    along = 2 if width >= height else 1
    return [image.narrow(along, begin, end - begin) for begin, end in places]
