"""Attention whose queries, keys and values come from one linear, group by group."""

from __future__ import annotations

from typing import ClassVar

import torch

from tfcli.models.folding import span
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.linear import linear


class GroupedAttention(RotaryAttention):
    """Megatron's layout: the queries that share a key head, that key, its value, then the next.

    With as many key heads as heads, each head has its query, key and value side by side; with
    one, all queries come first.

    Class attributes:
        fused: what checkpoints call the linear.
    """

    fused: ClassVar[str] = "query_key_value"
    out = "dense"

    def add_projections(self, hidden_size: int, width: int, kv_width: int, bias: bool) -> None:
        """See `RotaryAttention.add_projections`."""
        self.kv_heads = kv_width // self.head_dim
        self.add_module(self.fused, linear(hidden_size, width + 2 * kv_width, bias))

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `RotaryAttention.heads`."""
        fused = getattr(self, self.fused)(x)
        groups = fused.view(*x.shape[:2], self.kv_heads, -1, self.head_dim)
        query = groups[..., :-2, :].flatten(2, 3)
        key, value = groups[..., -2, :], groups[..., -1, :]
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return (self.fused,)

    def value_rows(self) -> tuple[str, torch.Tensor | None]:
        """See `RotaryAttention.value_rows`: the last head of each group."""
        rows = span(0, self.get_submodule(self.fused).get_parameter("weight").shape[0])
        return self.fused, rows.view(self.kv_heads, -1, self.head_dim)[:, -1].flatten()
