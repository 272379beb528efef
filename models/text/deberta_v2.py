"""DeBERTa v2 and v3 (He et al. 2021): post-norm encoder whose attention sees relative positions.

Reference: transformers `modeling_deberta_v2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.encoder import EncoderBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.deberta_v2 import DebertaV2Config
from tfcli.models.context import Context
from tfcli.models.heads.multiple_choice import MultipleChoice
from tfcli.models.heads.sequence_classification import SequenceClassification, whole
from tfcli.models.layers.activations import activation
from tfcli.models.layers.convolution import convolve, without_padding
from tfcli.models.layers.disentangled import DisentangledAttention, Relative, relative_rows
from tfcli.models.layers.embeddings import Embedding, check_ids, check_length
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.text.bert import BertMaskedLM, BertTransform


class DebertaEmbeddings(nn.Module):
    """Words, and as the config says positions and segments; summed, widened and normalised."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        size = config.embedding_size
        self.word_embeddings = Embedding(config.vocab_size, size, config.pad_token_id)
        self.position_embeddings = (
            Embedding(config.max_position_embeddings, size)
            if config.position_biased_input
            else None
        )
        self.token_type_embeddings = (
            Embedding(config.type_vocab_size, size) if config.type_vocab_size else None
        )
        self.embed_proj = (
            None if size == config.hidden_size else linear(size, config.hidden_size, bias=False)
        )
        self.LayerNorm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, embedding_size] -> [b, s, d], zeros at padding

        The segment of each token is 0 by default. Tokenizers make `token_type_ids` for checkpoints
        without segments too (type_vocab_size 0), where they change nothing.
        """
        if self.position_embeddings is not None:
            check_length(context, self.position_embeddings.num_embeddings)
            x = x + self.position_embeddings(context.positions)
        if self.token_type_embeddings is not None:
            token_type_ids = context.inputs.get("token_type_ids")
            if token_type_ids is None:
                token_type_ids = torch.zeros_like(context.positions)
            check_ids(token_type_ids, self.token_type_embeddings.num_embeddings, "token_type_ids")
            x = x + self.token_type_embeddings(token_type_ids)
        if self.embed_proj is not None:
            x = self.embed_proj(x)
        return self.dropout(without_padding(self.LayerNorm(x), context))


class DebertaConvolution(nn.Module):
    """Adds a convolution of the first block's input to its output."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.conv = nn.Conv1d(size, size, config.kernel, groups=config.conv_groups or 1)
        self.LayerNorm = layer_norm(size, config.layer_norm_eps)
        self.act = activation(config.conv_act or "tanh")
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, first: torch.Tensor, x: torch.Tensor, context: Context) -> torch.Tensor:
        """first (Tensor): [b, s, d], the input, x (Tensor): [b, s, d], the output -> [b, s, d]"""
        near = convolve(self.conv, first, context.sight.segments)
        near = self.act(self.dropout(without_padding(near, context)))
        return without_padding(self.LayerNorm(x + near), context)


class DebertaEncoder(nn.Module):
    """The blocks, the table of relative positions that they share, and the convolution."""

    def __init__(
        self, config: DebertaV2Config, kind: type[DisentangledAttention], attention: str
    ) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList(
            make_block(config, kind, attention) for _ in range(config.num_hidden_layers)
        )
        if config.relative_attention:
            self.rel_embeddings = Embedding(2 * config.span, config.hidden_size)
        if config.norms_table:
            self.LayerNorm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.conv = DebertaConvolution(config) if config.kernel else None

    def relative(self, context: Context) -> Relative | None:
        """Table and rows for all layers, or None."""
        config = self.config
        if not config.relative_attention:
            return None
        table = self.rel_embeddings.weight[None]
        table = self.LayerNorm(table) if config.norms_table else table
        length, device = context.sight.queries, table.device
        rows = relative_rows(length, config.span, config.buckets, config.farthest, device)
        return Relative(table, rows)

    def forward(self, first: torch.Tensor, context: Context) -> torch.Tensor:
        """first (Tensor): [b, s, d] -> [b, s, d]"""
        relative, blocks = self.relative(context), list(self.layer)
        x = run_blocks(blocks[:1], first, context, relative)
        if self.conv is not None and blocks:
            x = self.conv(first, x, context)
        return run_blocks(blocks[1:], x, context, relative)


def make_block(
    config: DebertaV2Config, kind: type[DisentangledAttention], attention: str
) -> EncoderBlock:
    """One layer."""
    terms = config.pos_att_type or ()
    heads, dropout = config.num_attention_heads, config.attention_probs_dropout_prob
    return EncoderBlock(
        config.hidden_size,
        heads,
        config.intermediate_size,
        act=config.hidden_act,
        dropout=config.hidden_dropout_prob,
        attention_dropout=dropout,
        eps=config.layer_norm_eps,
        backend=attention,
        attention=kind(
            config.hidden_size,
            heads,
            dropout,
            attention,
            to_position="c2p" in terms,
            from_position="p2c" in terms,
            relative=config.relative_attention,
            shared=bool(config.share_att_key),
            table_dropout=config.hidden_dropout_prob,
        ),
    )


class DebertaV2Model(Backbone[DebertaV2Config]):
    """Embeddings and blocks.

    Class attributes:
        attention_class: of every layer.
    """

    attention_class: ClassVar[type[DisentangledAttention]] = DisentangledAttention
    prefix = "deberta"
    tokens = "embeddings.word_embeddings"
    inputs = ("token_type_ids",)
    ignorable: ClassVar[dict[str, str]] = {
        r"embeddings\.position_ids$": "counted, not stored",
    }

    def __init__(self, config: DebertaV2Config, attention: str) -> None:
        super().__init__(config, attention)
        self.embeddings = DebertaEmbeddings(config)
        kind = self.attention_class
        self.encoder = DebertaEncoder(config, kind, attention)
        inner, terms = "attention.self", config.own_projections
        named = dict(zip(("c2p", "p2c"), kind.of_table, strict=True))
        of_table = [tuple(f"{inner}.{named[term]}" for term in terms)] if terms else []
        self.walk = CalibrationWalk(
            blocks="encoder.layer",
            groups=(
                tuple(f"{inner}.{name}" for name in kind.projections),
                *of_table,
                ("attention.output.dense",),
                ("intermediate.dense",),
                ("output.dense",),
            ),
            chained=config.kernel == 0,  # the convolution stands between the first two
        )

    @classmethod
    def ignorable_for(cls, config: BaseConfig) -> dict[str, str]:
        assert isinstance(config, DebertaV2Config)
        if config.position_biased_input:
            return cls.ignorable
        unused = "the config adds no positions to the input"
        return cls.ignorable | {r"embeddings\.position_embeddings\.": unused}

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        x = self.embeddings(x, context)
        return context.finished(self.encoder(x, context))


class DebertaScores(BertTransform):
    """The authors' own head: it has no decoder and takes the word embeddings."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def scores(self, x: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d], words (Tensor): [vocab, d] -> [b, s, vocab]"""
        return nn.functional.linear(self(x), words, self.bias)


class DebertaMaskedLM(BertMaskedLM):
    """One of two heads: BERT's, which the config calls `legacy`, and the authors' own."""

    config: DebertaV2Config

    def add_head(self) -> None:
        self.legacy = self.config.legacy
        if self.legacy:
            super().add_head()
        else:
            self.lm_predictions = nn.ModuleDict({"lm_head": DebertaScores(self.config)})

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        return super().ignorable_of(config) | {
            r"^mask_predictions\.": "another pretraining task's head"
        }

    @classmethod
    def ties_of(cls, config: BaseConfig) -> dict[str, str]:
        assert isinstance(config, DebertaV2Config)
        return super().ties_of(config) if config.legacy else {}

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        if self.legacy:
            return super().answer(x, inputs)
        head = self.lm_predictions["lm_head"]
        assert isinstance(head, DebertaScores)
        return head.scores(
            x, self.body.get_parameter(f"{self.body_class.tokens_of(self.config)}.weight")
        )


class ContextPooler(nn.Module):
    """The state of each row's first token, through a linear and an activation."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)
        self.dropout = nn.Dropout(config.pooler_dropout)
        self.act = activation(config.pooler_hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d] -> [b, d]"""
        return self.act(self.dense(self.dropout(x)))


class DebertaSequenceClassification(SequenceClassification):
    """Checkpoints keep the pooler beside the backbone, so it belongs to the head."""

    config: DebertaV2Config

    def add_head(self) -> None:
        super().add_head()
        self.pooler = ContextPooler(self.config)
        self.dropout = nn.Dropout(self.config.pooled_dropout)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        first = self.body.pooled(x, whole(inputs).get("attention_mask"))
        return self.classifier(self.dropout(self.pooler(first)))


class DebertaMultipleChoice(DebertaSequenceClassification, MultipleChoice):
    """The same, with one score for each choice."""
