"""A family of one's own: a decoder whose attention and mlp read the same norm, side by side.

tfcli eval CHECKPOINT --data DATA --family-file docs/examples/own_family.py
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.config import require
from tfcli.models.configs.llama import LlamaConfig
from tfcli.models.context import Context
from tfcli.models.families import DECODER_HEADS
from tfcli.models.family import Family
from tfcli.models.rules import Rename
from tfcli.models.text.llama import LlamaModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelConfig(LlamaConfig):
    """Llama's keys and one more: what is added to the residual stream is multiplied by it."""

    model_type: ClassVar[str] = "parallel-llama"
    residual_scale: float = 1.0

    def check(self) -> None:
        super().check()
        require(self.residual_scale > 0, "residual_scale", "must be above 0")


class ParallelBlock(nn.Module):
    """x + scale * (attention(norm(x)) + mlp(norm(x)))."""

    def __init__(self, attention: nn.Module, mlp: nn.Module, norm: nn.Module, scale: float) -> None:
        super().__init__()
        self.self_attn = attention
        self.mlp = mlp
        self.input_layernorm = norm
        self.scale = scale

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        normed = self.input_layernorm(x)
        return x + self.scale * (self.self_attn(normed, context) + self.mlp(normed))


class ParallelModel(LlamaModel):
    """Llama's embeddings, layers and final norm, with another block."""

    config: ParallelConfig

    # Its checkpoints say `tok_embeddings` where the model says `embed_tokens`.
    rules = (Rename(r"\bembed_tokens\.", "tok_embeddings."),)

    def make_block(self, layer: int) -> nn.Module:
        return ParallelBlock(
            self.make_attention(layer),
            self.make_mlp(layer),
            self.make_norm(),
            self.config.residual_scale,
        )


FAMILIES = [
    Family(
        model_type="parallel-llama",
        kind="decoder",
        config=ParallelConfig,
        backbone=ParallelModel,
        heads={task: DECODER_HEADS[task] for task in ("causal-lm", "sequence-classification")},
        names={
            "causal-lm": "ParallelLlamaForCausalLM",
            "sequence-classification": "ParallelLlamaForSequenceClassification",
        },
    )
]
