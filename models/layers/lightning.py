"""Lightning attention (Qin et al. 2024): attention without a softmax, with a fixed decay a head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from tfcli.models.caches.layers import RecurrentLayer
from tfcli.models.context import Context
from tfcli.models.folding import Fold
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.state_space import chunked_scan, without_padding


class LightningAttention(RecurrentLayer):
    """Queries read from a sum of keys and values, which each token lets decay.

    That is a state space whose steps are all 1.

    Args:
        hidden_size: d.
        head_dim: width of a head.
        slopes: of each head, by how much the logarithm of the sum falls with a token.
        act: name of the activation of queries, keys and values.
        chunk: tokens that are computed at a time.
        layer: number of the block.
    """

    def __init__(
        self,
        hidden_size: int,
        head_dim: int,
        slopes: Sequence[float],
        *,
        act: str,
        chunk: int,
        layer: int,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.slopes = tuple(slopes)
        self.chunk = chunk
        inner = len(self.slopes) * head_dim
        self.qkv_proj = linear(hidden_size, 3 * inner, bias=False)
        self.output_gate = linear(hidden_size, inner, bias=False)
        self.act = activation(act)
        self.norm = RMSNorm(inner, 1e-6)
        self.out_proj = linear(inner, hidden_size, bias=False)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        heads = len(self.slopes)
        projected = self.act(self.qkv_proj(x)).unflatten(-1, (heads, -1))
        query, key, value = projected.chunk(3, dim=-1)
        ones = x.new_ones(*x.shape[:2], heads, dtype=torch.float32)
        out, state = chunked_scan(
            value,
            without_padding(ones, context),  # padding adds nothing and lets nothing decay
            -torch.tensor(self.slopes, device=x.device),
            key,
            query,
            self.carried(context).get("state"),
            self.chunk,
        )
        self.carry_on(context, state=state)
        out = self.norm(out.flatten(-2).to(x.dtype))
        return self.out_proj(self.output_gate(x).sigmoid() * out)

    reads = ("qkv_proj", "output_gate")  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield Fold("norm", ("out_proj",))
