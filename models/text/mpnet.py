"""MPNet (Song et al. 2020): RoBERTa without segments, whose scores depend on distances too.

Reference: transformers `modeling_mpnet.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.blocks.cross_decoder import Attention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.context import Context
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.relative_bias import RelativeBias
from tfcli.models.text.bert import BertEncoder
from tfcli.models.text.roberta import RobertaModel

_NAMES = ("q", "k", "v", "o")
_BUCKETS, _FARTHEST = 32, 128


class MPNetAttention(nn.Module):
    """norm(x + attention(x))."""

    def __init__(self, config: EncoderConfig, layer: int, attention: str) -> None:
        super().__init__()
        self.attn = Attention(
            config.hidden_size,
            config.num_attention_heads,
            config.head_dim,
            layer=layer,
            causal=False,
            backend=attention,
            dropout=config.attention_probs_dropout_prob,
            names=_NAMES,
        )
        self.LayerNorm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: torch.Tensor, context: Context, mask: AttentionMask) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.LayerNorm(x + self.dropout(self.attn(x, context, mask)))


class MPNetEncoder(BertEncoder):
    """The blocks, and the bias of distances that they share."""

    def __init__(self, config: EncoderConfig, attention: str) -> None:
        super().__init__(config, attention)
        for layer, block in enumerate(self.layer):
            block.attention = MPNetAttention(config, layer, attention)
        heads = config.num_attention_heads
        self.relative_attention_bias = RelativeBias(_BUCKETS, heads, _FARTHEST, bidirectional=True)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        bias = self.relative_attention_bias(x.shape[1], x.shape[1])
        return run_blocks(self.layer, x, context, context.full().with_bias(bias))


class MPNetModel(RobertaModel):
    """Embeddings, blocks, and a pooler for multiple choice."""

    prefix = "mpnet"
    inputs: ClassVar[tuple[str, ...]] = ()
    walk = CalibrationWalk(
        blocks="encoder.layer",
        groups=(
            tuple(f"attention.attn.{name}" for name in _NAMES[:3]),
            ("attention.attn.o",),
            ("intermediate.dense",),
            ("output.dense",),
        ),
    )

    def make_encoder(self) -> MPNetEncoder:
        return MPNetEncoder(self.config, self.attention)

    def placed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the words -> [b, s, d]; see `BertModel.placed`."""
        return self.embeddings(x, self.position_ids(context))
