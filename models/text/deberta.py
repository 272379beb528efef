"""The first DeBERTa (He et al. 2020): DeBERTa v2's body with fused queries, keys and values.

Reference: transformers `modeling_deberta.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.layers.attention import split_heads
from tfcli.models.layers.disentangled import DisentangledAttention
from tfcli.models.layers.linear import linear
from tfcli.models.text.deberta_v2 import DebertaV2Model


class FusedDisentangledAttention(DisentangledAttention):
    """One linear gives the query, key and value of a head, then those of the next; keys lack a
    bias."""

    projections = ("in_proj",)
    of_table = ("pos_proj", "pos_q_proj")

    def add_projections(self, size: int) -> None:
        self.in_proj = linear(size, 3 * size, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(size))
        self.v_bias = nn.Parameter(torch.zeros(size))

    def biased(self, name: str) -> bool:
        return name == "pos_q_proj"

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, value = split_heads(self.in_proj(x), 3 * self.head_dim).chunk(3, -1)
        of_heads = (bias.view(1, -1, 1, self.head_dim) for bias in (self.q_bias, self.v_bias))
        to_query, to_value = of_heads
        return query + to_query, key, value + to_value


class DebertaModel(DebertaV2Model):
    """Embeddings and blocks."""

    attention_class = FusedDisentangledAttention
