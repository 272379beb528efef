"""Mixers of Mamba (Gu and Dao 2023) and Mamba 2 (Dao and Gu 2024): project, convolve, scan, gate.

Decoders of state spaces alone have one in each layer, hybrids in some or beside attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.caches.layers import RecurrentLayer
from tfcli.models.context import Context
from tfcli.models.folding import Fold
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.state_space import (
    CausalConv,
    chunked_scan,
    selective_scan,
    without_padding,
)


class MambaMixer(RecurrentLayer):
    """A selective state space, in which each channel has decays of its own.

    Args:
        hidden_size: d.
        inner: channels of the state space.
        rank: numbers that the steps of all channels are made of.
        states: of each channel.
        kernel: tokens that the convolution sees.
        bias: whether the first and the last linear have one.
        conv_bias: whether the convolution has one.
        act: name of the activation after the convolution.
        layer: number of the block.
        eps: of norms on steps, writes and reads (Jamba); None: there are none.
    """

    def __init__(
        self,
        hidden_size: int,
        inner: int,
        rank: int,
        states: int,
        *,
        kernel: int,
        bias: bool,
        conv_bias: bool,
        act: str,
        layer: int,
        eps: float | None = None,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.sizes = (rank, states, states)
        self.in_proj = linear(hidden_size, 2 * inner, bias)
        self.conv1d = CausalConv(inner, kernel, conv_bias)
        self.act = activation(act)
        self.x_proj = linear(inner, sum(self.sizes), bias=False)
        self.dt_layernorm = None if eps is None else RMSNorm(rank, eps)
        self.b_layernorm = None if eps is None else RMSNorm(states, eps)
        self.c_layernorm = None if eps is None else RMSNorm(states, eps)
        self.dt_proj = linear(rank, inner, bias=True)
        self.A_log = nn.Parameter(torch.empty(inner, states))
        self.D = nn.Parameter(torch.empty(inner))
        self.out_proj = linear(inner, hidden_size, bias)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        carried = self.carried(context)
        inner, gate = self.in_proj(x).chunk(2, dim=-1)
        inner, conv = self.conv1d(without_padding(inner, context), carried.get("conv"))
        # The bias of the convolution makes padding something again.
        inner = without_padding(self.act(inner), context)
        rank, write, read = self.x_proj(inner).split(self.sizes, dim=-1)
        if self.dt_layernorm is not None:
            assert self.b_layernorm is not None and self.c_layernorm is not None
            rank, write = self.dt_layernorm(rank), self.b_layernorm(write)
            read = self.c_layernorm(read)
        step = F.softplus(self.dt_proj(rank).float())
        decay = -torch.exp(self.A_log.float())
        out, state = selective_scan(inner, step, decay, write, read, carried.get("state"))
        self.carry_on(context, conv=conv, state=state)
        out = (out + inner * self.D.float()) * F.silu(gate)
        return self.out_proj(out.to(x.dtype))

    reads = ("in_proj",)  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        if self.dt_layernorm is not None:
            yield Fold("dt_layernorm", ("dt_proj",))


class Mamba2Mixer(RecurrentLayer):
    """A state space with one decay a head, computed chunk by chunk.

    Args:
        hidden_size: d.
        heads: of the state space.
        head_dim: channels of a head.
        groups: of heads that write and read alike.
        states: of each channel.
        kernel: tokens that the convolution sees.
        bias: whether the first linear has one.
        out_bias: whether the last linear has one; None: as the first.
        conv_bias: whether the convolution has one.
        act: name of the activation after the convolution.
        chunk: tokens that are computed at a time.
        step_limit: the least and the largest step.
        norm: [b, s, inner] and the gate of that shape -> the same; None: silu(gate) times it.
        scales: factors on the gate, the inputs, the writes, the reads and the steps.
        layer: number of the block.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        head_dim: int,
        *,
        groups: int,
        states: int,
        kernel: int,
        bias: bool,
        conv_bias: bool,
        act: str,
        chunk: int,
        step_limit: Sequence[float],
        norm: nn.Module | None,
        layer: int,
        out_bias: bool | None = None,
        scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.groups, self.chunk = heads, groups, chunk
        self.step_limit, self.scales = tuple(step_limit), scales
        inner, written = heads * head_dim, groups * states
        self.conv_sizes = (inner, written, written)
        self.sizes = (inner, sum(self.conv_sizes), heads)
        self.in_proj = linear(hidden_size, sum(self.sizes), bias)
        self.conv1d = CausalConv(sum(self.conv_sizes), kernel, conv_bias)
        self.act = activation(act)
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.empty(heads))
        self.norm = norm
        self.out_proj = linear(inner, hidden_size, bias if out_bias is None else out_bias)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        carried = self.carried(context)
        gate, mixed, step = self.project(x)
        mixed, conv = self.conv1d(without_padding(mixed, context), carried.get("conv"))
        mixed = without_padding(self.act(mixed), context)
        inner, write, read = mixed.split(self.conv_sizes, dim=-1)
        step = F.softplus(step.float() + self.dt_bias.float()).clamp(*self.step_limit)
        step = without_padding(step, context)  # padding moves no state on
        inner = inner.unflatten(-1, (self.heads, -1))
        out, state = chunked_scan(
            inner,
            step,
            -torch.exp(self.A_log.float()),
            write.unflatten(-1, (self.groups, -1)),
            read.unflatten(-1, (self.groups, -1)),
            carried.get("state"),
            self.chunk,
        )
        self.carry_on(context, conv=conv, state=state)
        out = (out + inner * self.D.float()[:, None]).flatten(-2)
        out = out * F.silu(gate) if self.norm is None else self.norm(out, gate)
        return self.out_proj(out.to(x.dtype))

    reads = ("in_proj",)  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        if self.norm is not None:
            yield Fold("norm", ("out_proj",))

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x (Tensor): [b, s, d] -> the gate, what is convolved, and the steps, of `sizes`"""
        projected = self.in_proj(x)
        if self.scales is None:
            return projected.split(self.sizes, dim=-1)
        parts = projected.split((self.sizes[0], *self.conv_sizes, self.sizes[2]), dim=-1)
        gate, *mixed, step = (part * scale for part, scale in zip(parts, self.scales, strict=True))
        return gate, torch.cat(mixed, dim=-1), step
