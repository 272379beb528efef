"""Falcon (Almazrouei et al. 2023): few key heads, attention beside the mlp, rotary or ALiBi.

Reference: transformers `modeling_falcon.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.falcon import FalconConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.alibi import Alibi
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.fused_attention import GroupedAttention
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.rotary import Rotary


class FalconBlock(nn.Module):
    """x + attention(norm(x)) + mlp(norm(x)), with one norm or two; or one after the other.

    Args:
        config: the family's.
        attention: [b, s, d] and the context -> [b, s, d]
    """

    def __init__(self, config: FalconConfig, attention: nn.Module) -> None:
        super().__init__()

        def norm() -> nn.Module:
            return layer_norm(config.hidden_size, config.layer_norm_epsilon)

        self.two_norms, self.parallel = config.two_norms, config.parallel_attn
        if self.two_norms:
            self.ln_attn, self.ln_mlp = norm(), norm()
        else:
            self.input_layernorm = norm()
        if not self.parallel:
            self.post_attention_layernorm = norm()
        self.self_attention = attention
        self.mlp = PlainMLP(
            config.hidden_size,
            config.ffn_hidden_size,
            config.activation,
            config.bias,
            names=("dense_h_to_4h", "dense_4h_to_h"),
        )
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        if self.two_norms:
            attended = self.self_attention(self.ln_attn(x), context)
            return x + self.dropout(self.mlp(self.ln_mlp(x)) + attended)
        normed = self.input_layernorm(x)
        attended = self.self_attention(normed, context)
        if self.parallel:
            return x + self.dropout(self.mlp(normed) + attended)
        x = x + self.attention_dropout(attended)
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        attention, mlp = {"self_attention": self.self_attention}, {"mlp": self.mlp}
        if self.two_norms:
            yield from after_norm("ln_attn", attention)
            yield from after_norm("ln_mlp", mlp)
        elif self.parallel:
            yield from after_norm("input_layernorm", attention | mlp)
        else:
            yield from after_norm("input_layernorm", attention)
            yield from after_norm("post_attention_layernorm", mlp)


class FalconModel(Backbone[FalconConfig]):
    """Embeddings, blocks, final norm."""

    prefix = "transformer"
    tokens = "word_embeddings"
    ignorable: ClassVar[dict[str, str]] = {r"rotary(_emb)?\.inv_freq$": "computed from the config"}
    walk = CalibrationWalk(
        blocks="h",
        groups=(
            ("self_attention.query_key_value",),
            ("self_attention.dense",),
            ("mlp.dense_h_to_4h",),
            ("mlp.dense_4h_to_h",),
        ),
    )

    def __init__(self, config: FalconConfig, attention: str) -> None:
        super().__init__(config, attention)
        rope, head_dim = config.rope_parameters, config.head_dim
        heads, alibi, rotary = config.num_attention_heads, None, None
        if config.alibi:
            # The bias is added before the scores are scaled.
            alibi = Alibi(heads, scale=head_dim**-0.5, rounded=True)
        else:
            rotary = Rotary(rope, head_dim, config.max_position_embeddings)
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.h = nn.ModuleList(
            FalconBlock(
                config,
                GroupedAttention(
                    config.hidden_size,
                    heads,
                    config.num_key_value_heads,
                    head_dim,
                    layer=layer,
                    rotary=rotary,
                    alibi=alibi,
                    backend=attention,
                    bias=config.bias,
                    # As trained: with rotary, nothing is dropped from the weights.
                    dropout=config.attention_dropout if config.alibi else 0.0,
                ),
            )
            for layer in range(config.num_hidden_layers)
        )
        self.ln_f = layer_norm(config.hidden_size, config.layer_norm_epsilon)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return context.finished(self.ln_f(run_blocks(self.h, x, context)))
