"""ModernBERT (Warner et al. 2024): pre-norm encoder; most layers see the neighbourhood only.

Reference: transformers `modeling_modernbert.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.modernbert import ModernBertConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm, span
from tfcli.models.heads.embedding import pool
from tfcli.models.heads.masked_lm import MaskedLM
from tfcli.models.heads.multiple_choice import MultipleChoice
from tfcli.models.heads.question_answering import QuestionAnswering
from tfcli.models.heads.sequence_classification import SequenceClassification, whole
from tfcli.models.heads.token_classification import TokenClassification
from tfcli.models.layers.activations import activation
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.rotary import Rotary


def make_norm(config: ModernBertConfig) -> nn.Module:
    """The norm of the residual stream."""
    return layer_norm(config.hidden_size, config.norm_eps, bias=config.norm_bias)


class ModernBertEmbeddings(nn.Module):
    """Words, normalised."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.tok_embeddings = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.norm = make_norm(config)
        self.drop = nn.Dropout(config.embedding_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d], rows of the table -> [b, s, d]"""
        return self.drop(self.norm(x))


class ModernBertAttention(nn.Module):
    """Multi-head attention with rotary positions; one linear gives queries, keys and values.

    Args:
        config: of the family.
        rotary: turns queries and keys.
        radius: how far it sees on each side; None: everything.
        backend: name of an attention backend.
    """

    def __init__(
        self, config: ModernBertConfig, rotary: Rotary, radius: int | None, backend: str
    ) -> None:
        super().__init__()
        size, dropout = config.hidden_size, config.attention_dropout
        self.head_dim = config.head_dim
        self.rotary = rotary
        self.radius = radius
        self.Wqkv = linear(size, 3 * size, bias=config.attention_bias)
        self.Wo = linear(size, size, bias=config.attention_bias)
        self.attend = Attend(backend, self.head_dim**-0.5, dropout)
        self.out_drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        query, key, value = (
            split_heads(part, self.head_dim) for part in self.Wqkv(x).chunk(3, dim=-1)
        )
        rotation = context.rotation(self.rotary, query.dtype)
        query, key = self.rotary.turn(query, rotation), self.rotary.turn(key, rotation)
        mask = context.full(radius=self.radius)
        return self.out_drop(self.Wo(self.attend(query, key, value, mask, context.attentions)))

    reads = ("Wqkv",)  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        size = self.Wqkv.get_parameter("weight").shape[0] // 3
        yield Fold("Wqkv", ("Wo",), span(2 * size, 3 * size))


class ModernBertMLP(nn.Module):
    """Wo(act(first half of Wi) * second half of Wi) (Shazeer 2020, "GLU variants")."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.Wi = linear(size, 2 * inner, bias=config.mlp_bias)
        self.Wo = linear(inner, size, bias=config.mlp_bias)
        self.act = activation(config.hidden_activation)
        self.drop = nn.Dropout(config.mlp_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        gate, up = self.Wi(x).chunk(2, dim=-1)
        return self.Wo(self.drop(self.act(gate) * up))

    reads = ("Wi",)  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        size = self.Wi.get_parameter("weight").shape[0] // 2
        yield Fold("Wi", ("Wo",), span(size, 2 * size))


class ModernBertBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). The first block's input is normalised."""

    def __init__(
        self, config: ModernBertConfig, layer: int, rotary: Rotary, attention: str
    ) -> None:
        super().__init__()
        self.attn_norm = make_norm(config) if layer else nn.Identity()
        self.attn = ModernBertAttention(config, rotary, config.radius(layer), attention)
        self.mlp_norm = make_norm(config)
        self.mlp = ModernBertMLP(config)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.attn(self.attn_norm(x), context)
        return x + self.mlp(self.mlp_norm(x))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("attn_norm", {"attn": self.attn})
        yield from after_norm("mlp_norm", {"mlp": self.mlp})


class ModernBertModel(Backbone[ModernBertConfig]):
    """Embeddings, blocks, final norm."""

    tokens = "embeddings.tok_embeddings"
    ignorable: ClassVar[dict[str, str]] = {r"rotary_emb\.": "computed from the config"}
    walk = CalibrationWalk(
        blocks="layers", groups=(("attn.Wqkv",), ("attn.Wo",), ("mlp.Wi",), ("mlp.Wo",))
    )

    def __init__(self, config: ModernBertConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.pooling = config.classifier_pooling
        self.init_cutoff = config.initializer_cutoff_factor or 3.0
        self.embeddings = ModernBertEmbeddings(config)
        rotaries = {
            kind: Rotary(rope, config.head_dim, config.max_position_embeddings)
            for kind, rope in config.rope_parameters.items()
        }
        self.layers = nn.ModuleList(
            ModernBertBlock(config, layer, rotaries[config.kind(layer)], attention)
            for layer in range(config.num_hidden_layers)
        )
        self.final_norm = make_norm(config)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        x = run_blocks(self.layers, self.embeddings(x), context)
        return context.finished(self.final_norm(x))

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """See `Backbone.pooled`."""
        return pool(x, attention_mask, self.pooling)

    def init_std(self, name: str) -> float:
        """Smaller into the residual stream and for words, and for classifiers by their inputs."""
        if name == "classifier.weight":
            return self.config.hidden_size**-0.5
        if name.endswith(("Wo.weight", "head.dense.weight", "decoder.weight")):
            return self.config.initializer_range / math.sqrt(2 * self.config.num_hidden_layers)
        return self.config.initializer_range


class PredictionHead(nn.Module):
    """Linear, activation, norm: what comes before the last linear of every task."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=config.classifier_bias)
        self.act = activation(config.classifier_activation)
        self.norm = make_norm(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [..., d] -> [..., d]"""
        return self.norm(self.act(self.dense(x)))


class ModernBertMaskedLM(MaskedLM):
    """The masked-language-model head; its decoder is tied to the word embeddings."""

    config: ModernBertConfig

    def add_head(self) -> None:
        config = self.config
        self.head = PredictionHead(config)
        self.decoder = linear(config.hidden_size, config.vocab_size, bias=config.decoder_bias)

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        return {"decoder.weight": f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight"}

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.decoder(self.head(x))


class ModernBertClassification(SequenceClassification):
    """The shared head with a linear, an activation and a norm before it."""

    config: ModernBertConfig

    def add_head(self) -> None:
        super().add_head()
        self.head = PredictionHead(self.config)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        pooled = self.body.pooled(x, whole(inputs).get("attention_mask"))
        return self.classifier(self.dropout(self.head(pooled)))


class ModernBertMultipleChoice(ModernBertClassification, MultipleChoice):
    """The same, with one score for each choice."""


class ModernBertTokenClassification(TokenClassification):
    """The shared head with a linear, an activation and a norm before it."""

    config: ModernBertConfig

    def add_head(self) -> None:
        super().add_head()
        self.head = PredictionHead(self.config)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return super().answer(self.head(x), inputs)


class ModernBertQuestionAnswering(QuestionAnswering):
    """The head of token classification, whose two labels are the first and the last token."""

    config: ModernBertConfig

    def add_head(self) -> None:
        config = self.config
        self.head = PredictionHead(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config.hidden_size, 2, bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.classifier(self.dropout(self.head(x)))
