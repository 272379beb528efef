"""MPNet (Song et al. 2020): RoBERTa without segments, whose scores depend on distances too.

Reference: transformers `modeling_mpnet.py`. Modules are named as BERT's; `rules` has the names.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from tfcli.models.blocks.run import run_blocks
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.context import Context
from tfcli.models.layers.relative_bias import RelativeBias
from tfcli.models.rules import Rename
from tfcli.models.text.bert import BertEncoder, BertModel
from tfcli.models.text.roberta import RobertaModel

_BUCKETS, _FARTHEST = 32, 128


class MPNetEncoder(BertEncoder):
    """The blocks, and the bias of distances that they share."""

    def __init__(self, config: EncoderConfig, attention: str) -> None:
        super().__init__(config, attention)
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
    rules = (
        *BertModel.rules,
        Rename(r"attention\.self\.(q|k|v)\w+", r"attention.attn.\1"),
        Rename(r"attention\.output\.dense", "attention.attn.o"),
        Rename(r"attention\.output\.LayerNorm", "attention.LayerNorm"),
    )

    def make_encoder(self) -> MPNetEncoder:
        return MPNetEncoder(self.config, self.attention)

    def placed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the words -> [b, s, d]; see `BertModel.placed`."""
        return self.embeddings(x, self.position_ids(context))
