"""The block whose attention and mlp run side by side (Wang and Komatsuzaki 2021, GPT-J)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm


class ParallelBlock(nn.Module):
    """x + attention(norm(x)) + mlp(norm(x)), with one norm for both.

    Args:
        attention: [b, s, d] and the context -> [b, s, d], such as `RotaryAttention`.
        mlp: [b, s, d] -> [b, s, d]
        norm: before both.
        dropout: on what each of the two adds.
    """

    def __init__(
        self, attention: nn.Module, mlp: nn.Module, norm: nn.Module, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.self_attn = attention
        self.mlp = mlp
        self.input_layernorm = norm
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        normed = self.input_layernorm(x)
        attended = self.dropout(self.self_attn(normed, context))
        return x + attended + self.dropout(self.mlp(normed))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        parts = {"self_attn": self.self_attn, "mlp": self.mlp}
        yield from after_norm("input_layernorm", parts)
