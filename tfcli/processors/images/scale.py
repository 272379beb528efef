"""Pixels as the numbers that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tfcli.errors import WorkError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STANDARD_MEAN = STANDARD_STD = (0.5, 0.5, 0.5)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def rescale(image: Tensor, factor: float) -> Tensor:
    """Every value times `factor`, as float32."""
    return image.float() * factor


def normalize(image: Tensor, mean: float | Sequence[float], std: float | Sequence[float]) -> Tensor:
    """An image [c, h, w] without the mean of its channels, in standard deviations, as float32.

    Raises:
        WorkError: not as many means or deviations as channels.
    """
    channels = len(image)
    return (image.float() - _each(mean, channels, "image_mean")) / _each(std, channels, "image_std")


def _each(value: float | Sequence[float], channels: int, key: str) -> Tensor:
    """One value a channel, [c, 1, 1]."""
    if isinstance(value, int | float):
        return torch.full((channels, 1, 1), float(value))
    if len(value) != channels:
        raise WorkError(
            f"an image has {channels} channels, and {key} {len(value)} values",
            where=key,
            fix="set do_convert_rgb, or give images of that many channels",
        )
    return torch.tensor(list(value), dtype=torch.float32)[:, None, None]
