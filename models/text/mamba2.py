"""Mamba 2 (Dao and Gu 2024): state spaces with one decay a head, computed chunk by chunk.

Reference: transformers `modeling_mamba2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.caches.layers import RecurrentLayer
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.mamba import Mamba2Config
from tfcli.models.context import Context
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.state_space import CausalConv, chunked_scan, without_padding
from tfcli.models.text.mamba import MambaModel


class GatedGroupNorm(nn.Module):
    """RMS norm of x * silu(gate) over each of several groups of channels, in float32."""

    def __init__(self, size: int, groups: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.groups = groups
        self.eps = eps

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """x and gate (Tensor): [b, s, d] -> [b, s, d], in gate's dtype"""
        wide = (x.float() * F.silu(gate.float())).unflatten(-1, (self.groups, -1))
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.flatten(-2).to(gate.dtype)


class Mamba2Mixer(RecurrentLayer):
    """The state space of one layer."""

    def __init__(self, config: Mamba2Config, layer: int) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        inner, heads = config.intermediate_size, config.num_heads
        written = config.n_groups * config.state_size
        self.conv_sizes = (inner, written, written)
        self.sizes = (inner, sum(self.conv_sizes), heads)
        self.in_proj = linear(config.hidden_size, sum(self.sizes), config.use_bias)
        self.conv1d = CausalConv(sum(self.conv_sizes), config.conv_kernel, config.use_conv_bias)
        self.act = activation(config.hidden_act)
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.empty(heads))
        self.norm = GatedGroupNorm(inner, config.n_groups, config.layer_norm_epsilon)
        self.out_proj = linear(inner, config.hidden_size, config.use_bias)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        config, carried = self.config, self.carried(context)
        gate, mixed, step = self.in_proj(x).split(self.sizes, dim=-1)
        mixed, conv = self.conv1d(without_padding(mixed, context), carried.get("conv"))
        mixed = without_padding(self.act(mixed), context)
        inner, write, read = mixed.split(self.conv_sizes, dim=-1)
        step = F.softplus(step.float() + self.dt_bias.float()).clamp(*config.time_step_limit)
        step = without_padding(step, context)  # padding moves no state on
        inner = inner.unflatten(-1, (config.num_heads, config.head_dim))
        out, state = chunked_scan(
            inner,
            step,
            -torch.exp(self.A_log.float()),
            write.unflatten(-1, (config.n_groups, -1)),
            read.unflatten(-1, (config.n_groups, -1)),
            carried.get("state"),
            config.chunk_size,
        )
        self.carry_on(context, conv=conv, state=state)
        out = out + inner * self.D.float()[:, None]
        return self.out_proj(self.norm(out.flatten(-2), gate))


class Mamba2Model(MambaModel):
    """Mamba's embeddings, block and norm around another state space."""

    config: Mamba2Config

    walk = CalibrationWalk(blocks="layers", groups=(("mixer.in_proj",), ("mixer.out_proj",)))

    mixer_class = Mamba2Mixer
