"""Resizing through Pillow, which filters when it makes smaller; torch's own filters differ."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.processors.images.size import Pair, check_made

NEAREST, LANCZOS, BILINEAR, BICUBIC, BOX, HAMMING = range(6)
"""Pillow's numbers of its filters, as `resample` has them."""


def resize(image: Tensor, size: Pair, resample: int) -> Tensor:
    """An image [c, h, w] as one of another height and width.

    Pillow takes bytes: values with fractions between 0 and 1 go through 0..255 and come back, and
    are cut to these 256 steps, as in transformers.

    Args:
        image: bytes, whole numbers of 0..255, or fractions of 0..1.
        size: height and width.
        resample: one of Pillow's filters.

    Raises:
        UsageError: other values.
        WorkError: no pixels are left, or too many are made.
    """
    height, width = size
    if height < 1 or width < 1:
        raise WorkError(
            f"an image of {image.shape[-2]} x {image.shape[-1]} pixels would be resized to "
            f"{height} x {width}",
            fix="crop an image this long and narrow",
        )
    check_made(height * width, f"resizing to {height:,} x {width:,}")
    scaled = not _is_whole(image)
    values = (image * 255 if scaled else image).to(torch.uint8)
    array = values.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    made = torch.from_numpy(np.array(picture.resize((width, height), Image.Resampling(resample))))
    made = made[None] if made.ndim == 2 else made.permute(2, 0, 1)
    return made * (1 / 255) if scaled else made


def _is_whole(image: Tensor) -> bool:
    """Whether an image holds whole numbers of 0..255; if not, it holds fractions of 0..1.

    Raises:
        UsageError: it holds neither.
    """
    if image.dtype == torch.uint8:
        return True
    least, most = image.min().item(), image.max().item()
    whole = not image.is_floating_point() or torch.allclose(image, image.trunc())
    if not 0 <= least <= most <= (255 if whole else 1):
        raise UsageError(
            f"an image has values from {least:g} to {most:g}",
            where="images",
            fix="give bytes, whole numbers from 0 to 255, or fractions from 0 to 1",
        )
    return whole
