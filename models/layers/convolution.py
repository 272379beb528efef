"""Convolutions over the positions of a text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.context import Context


class Conv1d(nn.Conv1d):
    """`nn.Conv1d`."""

    def reset_parameters(self) -> None:
        """Random values, except on the meta device: there torch would import its compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()


def convolve(
    conv: nn.Conv1d, x: torch.Tensor, segments: torch.Tensor | None = None
) -> torch.Tensor:
    """Convolve over positions; texts that are packed into a row do not see each other.

    Args:
        conv: with an odd kernel and stride 1; its own padding is not used.
        x (Tensor): [b, s, in]. Padded positions have to be zeros, as beyond the ends of the row.
        segments (Tensor): [b, s], see `Sight`; None where a row is one text.

    Returns:
        [b, s, out]
    """
    kernel = conv.kernel_size[0]
    if segments is None:
        out = F.conv1d(
            x.transpose(1, 2), conv.weight, conv.bias, padding=kernel // 2, groups=conv.groups
        )
        return out.transpose(1, 2).contiguous()  # as linears and norms like it
    windows = neighbours(x, kernel, segments).flatten(0, 1)
    return F.conv1d(windows, conv.weight, conv.bias, groups=conv.groups).view(*x.shape[:2], -1)


def neighbours(x: torch.Tensor, kernel: int, segments: torch.Tensor | None = None) -> torch.Tensor:
    """Each position's surroundings, with zeros beyond the ends of its text.

    Args:
        x (Tensor): [b, s, d]
        kernel: positions of the surroundings, an odd number.
        segments (Tensor): [b, s], see `Sight`; None where a row is one text.

    Returns:
        [b, s, d, kernel]
    """
    reach = kernel // 2
    found = F.pad(x, (0, 0, reach, reach)).unfold(1, kernel, 1)
    if segments is None:
        return found
    own = F.pad(segments, (reach, reach)).unfold(1, kernel, 1) == segments[..., None]
    return found.masked_fill(~own[:, :, None, :], 0)


def without_padding(x: torch.Tensor, context: Context) -> torch.Tensor:
    """x (Tensor): [b, s, d] -> the same with zeros at padded positions"""
    padding = context.sight.padding
    return x if padding is None else x * padding[..., None].to(x.dtype)
