"""BLOOM (BigScience 2022): ALiBi for positions, and a norm on the embeddings.

Reference: transformers `modeling_bloom.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.bloom import BloomConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.alibi import Alibi
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.fused_attention import GroupedAttention
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm


class BloomBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    With `apply_residual_connection_post_layernorm`, norm(x) takes x's place in both sums.

    Args:
        config: the family's.
        attention: [b, s, d] and the context -> [b, s, d]
    """

    def __init__(self, config: BloomConfig, attention: nn.Module) -> None:
        super().__init__()
        self.keeps_norm = config.apply_residual_connection_post_layernorm
        self.input_layernorm = layer_norm(config.hidden_size, config.layer_norm_epsilon)
        self.self_attention = attention
        self.post_attention_layernorm = layer_norm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = PlainMLP(
            config.hidden_size,
            4 * config.hidden_size,
            "gelu_pytorch_tanh",
            bias=True,
            names=("dense_h_to_4h", "dense_4h_to_h"),
        )
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        normed = self.input_layernorm(x)
        residual = normed if self.keeps_norm else x
        x = residual + self.dropout(self.self_attention(normed, context))
        normed = self.post_attention_layernorm(x)
        residual = normed if self.keeps_norm else x
        return residual + self.dropout(self.mlp(normed))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        if not self.keeps_norm:
            yield from after_norm("input_layernorm", {"self_attention": self.self_attention})
            yield from after_norm("post_attention_layernorm", {"mlp": self.mlp})


class BloomModel(Backbone[BloomConfig]):
    """Embeddings and their norm, blocks, final norm."""

    prefix = "transformer"
    tokens = "word_embeddings"
    ignorable: ClassVar[dict[str, str]] = {
        r"\.self_attention\.(masked_)?bias$": "a causal mask, which is computed here"
    }
    walk = CalibrationWalk(
        blocks="h",
        groups=(
            ("self_attention.query_key_value",),
            ("self_attention.dense",),
            ("mlp.dense_h_to_4h",),
            ("mlp.dense_4h_to_h",),
        ),
    )

    def __init__(self, config: BloomConfig, attention: str) -> None:
        super().__init__(config, attention)
        heads = config.num_attention_heads
        alibi = Alibi(heads)
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.word_embeddings_layernorm = layer_norm(config.hidden_size, config.layer_norm_epsilon)
        self.h = nn.ModuleList(
            BloomBlock(
                config,
                GroupedAttention(
                    config.hidden_size,
                    heads,
                    heads,
                    config.head_dim,
                    layer=layer,
                    rotary=None,
                    alibi=alibi,
                    backend=attention,
                    bias=True,
                    dropout=config.attention_dropout,
                ),
            )
            for layer in range(config.num_hidden_layers)
        )
        self.ln_f = layer_norm(config.hidden_size, config.layer_norm_epsilon)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        x = run_blocks(self.h, self.word_embeddings_layernorm(x), context)
        return context.finished(self.ln_f(x))
