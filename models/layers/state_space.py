"""State spaces (Gu and Dao 2023; Dao and Gu 2024): a state that each token decays and adds to.

All states are float32: they add up over thousands of tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.context import Context
from tfcli.models.layers.recurrence import Tensors, recur


class CausalConv(nn.Module):
    """A convolution over the last tokens of each channel.

    Args:
        channels: d.
        width: tokens that an output sees.
        bias: whether it has one.
    """

    def __init__(self, channels: int, width: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, width))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(
        self, x: torch.Tensor, before: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Convolve new tokens.

        Args:
            x (Tensor): [b, s, d]
            before (Tensor): [b, d, width - 1], the inputs just before; None: zeros.

        Returns:
            [b, s, d], and the inputs to give with the next tokens
        """
        channels, _, width = self.weight.shape
        columns = x.transpose(1, 2)
        if before is None:
            columns = F.pad(columns, (width - 1, 0))
        else:
            columns = torch.cat((before, columns), dim=-1)
        out = F.conv1d(columns, self.weight, self.bias, groups=channels)
        return out.transpose(1, 2), columns[..., columns.shape[-1] - width + 1 :]


def selective_scan(
    x: torch.Tensor,
    step: torch.Tensor,
    decay: torch.Tensor,
    write: torch.Tensor,
    read: torch.Tensor,
    state: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mamba's scan: every channel has n states, each with a decay of its own.

    Args:
        x (Tensor): [b, s, d]
        step (Tensor): [b, s, d], how far each token moves the state on; float32.
        decay (Tensor): [d, n], negative; float32.
        write (Tensor): [b, s, n] ("B")
        read (Tensor): [b, s, n] ("C")
        state (Tensor): [b, d, n], float32; None: zeros.

    Returns:
        [b, s, d] in float32, and the state after the last token
    """
    batch, _, channels = x.shape
    moved = step * x.float()
    write, read = write.float(), read.float()
    if state is None:
        state = x.new_zeros(batch, channels, decay.shape[1], dtype=torch.float32)

    def move(states: Tensors, token: Tensors) -> tuple[Tensors, torch.Tensor]:
        far, new, to, of = token
        kept = torch.exp(far[:, :, None] * decay)
        after = torch.addcmul(new[:, :, None] * to[:, None], kept, states[0])
        return (after,), (after @ of[:, :, None])[..., 0]

    (state,), outputs = recur(move, (state,), (step, moved, write, read))
    return outputs, state


def chunked_scan(
    x: torch.Tensor,
    step: torch.Tensor,
    decay: torch.Tensor,
    write: torch.Tensor,
    read: torch.Tensor,
    state: torch.Tensor | None,
    chunk: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mamba 2's scan: a head has one decay, so that a chunk of tokens is a few matrix products.

    Within a chunk tokens look back at each other as in attention; what came before reaches them
    through the state ("state space duality").

    Args:
        x (Tensor): [b, s, h, p]
        step (Tensor): [b, s, h], float32.
        decay (Tensor): [h], negative; float32.
        write (Tensor): [b, s, g, n] ("B"), each for h / g heads.
        read (Tensor): [b, s, g, n] ("C")
        state (Tensor): [b, h, p, n], float32; None: zeros.
        chunk: tokens at a time.

    Returns:
        [b, s, h, p] in float32, and the state after the last token
    """
    batch, length, heads, width = x.shape
    group = heads // write.shape[2]
    if state is None:
        state = x.new_zeros(batch, heads, width, write.shape[3], dtype=torch.float32)
    outputs = []
    # An exported graph has no loop over chunks of an input of any length: all of it is one.
    whole = torch.compiler.is_exporting()
    parts = (
        [slice(at, at + chunk) for at in range(0, length, chunk)] if not whole else [slice(None)]
    )
    for part in parts:
        moved = (x[:, part].float() * step[:, part, :, None]).transpose(1, 2)  # [b, h, l, p]
        keys = write[:, part].float().repeat_interleave(group, 2).transpose(1, 2)  # [b, h, l, n]
        queries = read[:, part].float().repeat_interleave(group, 2).transpose(1, 2)
        fallen = (step[:, part] * decay).transpose(1, 2).cumsum(-1)  # [b, h, l], log of the decay
        between = fallen[..., :, None] - fallen[..., None, :]
        past = torch.ones_like(between[0, 0], dtype=torch.bool).tril()
        scores = (queries @ keys.transpose(-1, -2)) * between.masked_fill(~past, -torch.inf).exp()
        out = scores @ moved
        out = out + (queries @ state.transpose(-1, -2)) * fallen[..., None].exp()
        left = (fallen[..., -1:] - fallen).exp()[..., None]
        state = state * fallen[..., -1, None, None].exp() + (moved * left).transpose(-1, -2) @ keys
        outputs.append(out.transpose(1, 2))
    return torch.cat(outputs, dim=1), state


def without_padding(x: torch.Tensor, context: Context) -> torch.Tensor:
    """Zeros where a new token is padding. x (Tensor): [b, s, d] -> the same"""
    padding = context.padding
    return x if padding is None else x * padding[:, :, None].to(x.dtype)
