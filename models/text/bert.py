"""BERT (Devlin et al. 2018): post-norm encoder with learned positions and segments.

Reference: transformers `modeling_bert.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone, first_states
from tfcli.models.blocks.encoder import EncoderBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.context import Context
from tfcli.models.heads.masked_lm import MaskedLM
from tfcli.models.layers.activations import activation
from tfcli.models.layers.embeddings import Embedding, check_ids, check_length
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.rules import OldName, Rule


class BertEmbeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.word_embeddings = Embedding(config.vocab_size, size, config.pad_token_id)
        self.position_embeddings = Embedding(config.max_position_embeddings, size)
        if config.type_vocab_size:
            self.token_type_embeddings = Embedding(config.type_vocab_size, size)
        self.LayerNorm = layer_norm(size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, words: torch.Tensor, position_ids: torch.Tensor, *others: torch.Tensor
    ) -> torch.Tensor:
        """Add everything up.

        Args:
            words (Tensor): [b, s, d]
            position_ids (Tensor): [b or 1, s]
            others: embeddings of what else a token has, each broadcast to [b, s, d].

        Returns:
            [b, s, d]
        """
        x = words + self.position_embeddings(position_ids)
        for other in others:
            x = x + other
        return self.dropout(self.LayerNorm(x))

    def of_types(self, token_type_ids: torch.Tensor | None) -> torch.Tensor:
        """The embeddings of segments.

        Args:
            token_type_ids (Tensor): [b, s]; None: all 0.

        Returns:
            [b, s, d], or [1, 1, d] for None

        Raises:
            ModelError: an id that the table has no row for.
        """
        table = self.token_type_embeddings
        if token_type_ids is None:
            return table(torch.zeros(1, 1, dtype=torch.long, device=table.weight.device))
        check_ids(token_type_ids, table.num_embeddings, "token_type_ids")
        return table(token_type_ids)


class BertEncoder(nn.Module):
    """The blocks."""

    def __init__(self, config: EncoderConfig, attention: str) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            EncoderBlock(
                config.hidden_size,
                config.num_attention_heads,
                config.intermediate_size,
                act=config.hidden_act,
                dropout=config.hidden_dropout_prob,
                attention_dropout=config.attention_probs_dropout_prob,
                eps=config.layer_norm_eps,
                backend=attention,
            )
            for _ in range(config.num_hidden_layers)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return run_blocks(self.layer, x, context)


class BertPooler(nn.Module):
    """The state of each row's first token, through a linear and tanh."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d] -> [b, d]"""
        return torch.tanh(self.dense(x))


class BertModel(Backbone[EncoderConfig]):
    """Embeddings, blocks, and a pooler for classifiers of whole inputs.

    Attributes:
        first_position: row of the position table that a text's first token takes.
    """

    config: EncoderConfig

    prefix = "bert"
    tokens = "embeddings.word_embeddings"
    inputs: ClassVar[tuple[str, ...]] = ("token_type_ids",)
    optional: ClassVar[tuple[str, ...]] = ("pooler.",)
    rules: ClassVar[tuple[Rule, ...]] = (
        OldName(r"LayerNorm\.gamma$", "LayerNorm.weight"),
        OldName(r"LayerNorm\.beta$", "LayerNorm.bias"),
    )
    ignorable: ClassVar[dict[str, str]] = {
        r"embeddings\.position_ids$": "counted, not stored",
    }
    walk: CalibrationWalk | None = CalibrationWalk(
        blocks="encoder.layer",
        groups=(
            ("attention.self.query", "attention.self.key", "attention.self.value"),
            ("attention.output.dense",),
            ("intermediate.dense",),
            ("output.dense",),
        ),
    )

    def __init__(self, config: EncoderConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.first_position = 0
        self.embeddings = self.make_embeddings()
        self.encoder = self.make_encoder()

    def make_embeddings(self) -> BertEmbeddings:
        """The tables."""
        return BertEmbeddings(self.config)

    def make_encoder(self) -> nn.Module:
        """The blocks, with what is around them."""
        return BertEncoder(self.config, self.attention)

    def add_pooler(self) -> None:
        """See `Backbone.add_pooler`."""
        self.pooler: nn.Module = BertPooler(self.config)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return context.finished(self.encoder(self.placed(x, context), context))

    def placed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Add to the words what else is known of each token.

        Args:
            x (Tensor): [b, s, d], the words.
            context: of the forward pass; may have `token_type_ids` [b, s], which are 0 by default.

        Returns:
            [b, s, d]

        Raises:
            ModelError: the input is too long, or an id is outside of its table.
        """
        types = self.embeddings.of_types(context.inputs.get("token_type_ids"))
        return self.embeddings(x, self.position_ids(context), types)

    def position_ids(self, context: Context) -> torch.Tensor:
        """Which row of the position table each token takes, [b or 1, s]."""
        rows = self.embeddings.position_embeddings.num_embeddings
        check_length(context, rows - self.first_position)
        return context.positions + self.first_position

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """See `Backbone.pooled`."""
        return self.pooler(first_states(x, attention_mask))


class BertTransform(nn.Module):
    """Linear, activation, norm: from states to the width of the embedding tables.

    Args:
        config: of the family.
        act: name of the activation; None: the config's.
    """

    def __init__(self, config: EncoderConfig, *, act: str | None = None) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.embedding_size, bias=True)
        self.act = activation(act or config.hidden_act)
        self.LayerNorm = layer_norm(config.embedding_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, embedding_size]"""
        return self.LayerNorm(self.act(self.dense(x)))


class BertPredictions(nn.Module):
    """The masked-language-model head: transform, then one score for each word."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.transform = BertTransform(config)
        self.decoder = linear(config.embedding_size, config.vocab_size, bias=True)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))  # tied to the decoder's

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, vocab]"""
        return self.decoder(self.transform(x))


class BertMaskedLM(MaskedLM):
    """BERT's masked-language-model head."""

    config: EncoderConfig

    def add_head(self) -> None:
        self.cls = nn.ModuleDict({"predictions": BertPredictions(self.config)})

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        next_sentence = {r"^cls\.seq_relationship\.": "the next-sentence head is not part of it"}
        return super().ignorable_of(config) | next_sentence

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        table = f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight"
        return {
            "cls.predictions.decoder.weight": table,
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        }

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.cls["predictions"](x)
