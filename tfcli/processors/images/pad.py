"""Padding with one value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tfcli.errors import WorkError
from tfcli.processors.images.size import Pair, check_made


def pad_to(image: Tensor, size: Pair) -> Tensor:
    """An image [c, h, w] with zeros on the right and at the bottom.

    Raises:
        WorkError: it is larger than `size` already.
    """
    height, width = size
    down, right = height - image.shape[-2], width - image.shape[-1]
    if down < 0 or right < 0:
        raise WorkError(
            f"an image of {image.shape[-2]} x {image.shape[-1]} pixels is padded to "
            f"{height} x {width}, which is smaller",
            where="pad_size",
        )
    check_made(height * width, f"padding to {height:,} x {width:,}")
    return F.pad(image, (0, right, 0, down))


def pad_around(image: Tensor, size: Pair) -> Tensor:
    """An image [c, h, w] in the middle of zeros; an odd row goes to the bottom."""
    height, width = size
    check_made(height * width, f"padding to {height:,} x {width:,}")
    down, right = height - image.shape[-2], width - image.shape[-1]
    return F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2))


def pad_to_square(image: Tensor, colour: Sequence[int]) -> Tensor:
    """An image [c, h, w] in the middle of a square of its longer side.

    Args:
        colour: a value for each channel.

    Raises:
        WorkError: not as many values as channels.
    """
    channels, height, width = image.shape
    if height == width:
        return image
    if len(colour) != channels:
        raise WorkError(
            f"an image of {channels} channels is padded with {len(colour)} values",
            where="image_mean",
        )
    side = max(height, width)
    check_made(side * side, f"padding to {side:,} x {side:,}")
    square = torch.tensor(colour, dtype=image.dtype)[:, None, None].repeat(1, side, side)
    top, left = (side - height) // 2, (side - width) // 2
    square[:, top : top + height, left : left + width] = image
    return square


def pad_first(values: Tensor, length: int) -> Tensor:
    """Zeros behind the entries of the first dimension, up to `length` of them."""
    return F.pad(values, (0, 0) * (values.ndim - 1) + (0, length - len(values)))
