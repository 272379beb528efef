"""Short convolutions with gates, in place of attention (Liquid AI 2025, LFM2)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tfcli.models.caches.layers import RecurrentLayer
from tfcli.models.context import Context
from tfcli.models.folding import Fold, span
from tfcli.models.layers.linear import linear
from tfcli.models.layers.state_space import CausalConv, without_padding


class ShortConv(RecurrentLayer):
    """out(second * conv(first * x)), with both gates and x from one linear.

    Args:
        hidden_size: d.
        width: tokens that the convolution sees.
        bias: whether the linears and the convolution have one.
        layer: number of the block.
    """

    def __init__(self, hidden_size: int, width: int, bias: bool, *, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.in_proj = linear(hidden_size, 3 * hidden_size, bias)
        self.conv = CausalConv(hidden_size, width, bias)
        self.out_proj = linear(hidden_size, hidden_size, bias)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        first, second, inner = self.in_proj(x).chunk(3, dim=-1)
        # Here and not before the linear, whose bias would make padding something again.
        inner = without_padding(first * inner, context)
        inner, conv = self.conv(inner, self.carried(context).get("conv"))
        self.carry_on(context, conv=conv)
        return self.out_proj(second * inner)

    reads = ("in_proj",)  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`: by its second gate."""
        size = self.in_proj.get_parameter("weight").shape[0] // 3
        yield Fold("in_proj", ("out_proj",), span(size, 2 * size))
