"""Feed-forward layers."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear


class GatedMLP(nn.Module):
    """down(act(gate(x)) * up(x)) (Shazeer 2020, "GLU variants").

    Args:
        hidden_size: d.
        intermediate_size: width in between.
        act: name of the activation.
        bias: whether the three projections have one.
    """

    def __init__(self, hidden_size: int, intermediate_size: int, act: str, bias: bool) -> None:
        super().__init__()
        self.gate_proj = linear(hidden_size, intermediate_size, bias)
        self.up_proj = linear(hidden_size, intermediate_size, bias)
        self.down_proj = linear(intermediate_size, hidden_size, bias)
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))
