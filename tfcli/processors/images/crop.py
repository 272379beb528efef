"""Cropping around the middle."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tfcli.processors.images.size import Pair, check_made


def center_crop(image: Tensor, size: Pair) -> Tensor:
    """The middle of an image [c, h, w]; zeros around it where the image is smaller.

    What cannot be halved goes to the right and the bottom when cropping, to the left and the top
    when padding, as in transformers.
    """
    height, width = size
    check_made(height * width, f"cropping to {height:,} x {width:,}")
    top = (image.shape[-2] - height) // 2  # negative: so many rows of zeros
    left = (image.shape[-1] - width) // 2
    right, bottom = width - image.shape[-1] + left, height - image.shape[-2] + top
    return F.pad(image, (-left, right, -top, bottom))
