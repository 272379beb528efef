"""BERT (Devlin et al. 2018): post-norm encoder with learned positions and segments.

Reference: transformers `modeling_bert.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone, first_states
from tfcli.models.blocks.encoder import EncoderBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import ModelConfig
from tfcli.models.configs.bert import BertConfig
from tfcli.models.context import Context
from tfcli.models.heads.masked_lm import MaskedLM
from tfcli.models.layers.activations import activation
from tfcli.models.layers.embeddings import Embedding, check_length, embed_inputs
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.rules import OldName


class BertEmbeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, size, config.pad_token_id)
        self.position_embeddings = Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = Embedding(config.type_vocab_size, size)
        self.LayerNorm = layer_norm(size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, words: torch.Tensor, position_ids: torch.Tensor, segment_ids: torch.Tensor
    ) -> torch.Tensor:
        """words (Tensor): [b, s, d], the ids: [b or 1, s] -> [b, s, d]"""
        x = words + self.token_type_embeddings(segment_ids) + self.position_embeddings(position_ids)
        return self.dropout(self.LayerNorm(x))


class BertEncoder(nn.Module):
    """The blocks."""

    def __init__(self, config: BertConfig, attention: str) -> None:
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


class BertPooler(nn.Module):
    """The state of each row's first token, through a linear and tanh."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d] -> [b, d]"""
        return torch.tanh(self.dense(x))


class BertModel(Backbone):
    """Embeddings, blocks, and a pooler for classifiers of whole inputs."""

    prefix = "bert"
    tokens = "embeddings.word_embeddings"
    inputs = ("token_type_ids",)
    optional = ("pooler.",)
    rules = (
        OldName(r"LayerNorm\.gamma$", "LayerNorm.weight"),
        OldName(r"LayerNorm\.beta$", "LayerNorm.bias"),
    )
    ignorable: ClassVar[dict[str, str]] = {
        r"embeddings\.position_ids$": "counted, not stored",
    }
    walk = CalibrationWalk(
        blocks="encoder.layer",
        groups=(
            ("attention.self.query", "attention.self.key", "attention.self.value"),
            ("attention.output.dense",),
            ("intermediate.dense",),
            ("output.dense",),
        ),
    )

    def __init__(self, config: BertConfig, attention: str) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config, attention)

    def add_pooler(self, config: ModelConfig) -> None:
        """See `Backbone.add_pooler`."""
        assert isinstance(config, BertConfig)
        self.pooler = BertPooler(config)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        context: Context,
        token_type_ids: torch.Tensor | None = None,
        **inputs: torch.Tensor | None,
    ) -> torch.Tensor:
        """Arguments and result as in `Backbone.forward`.

        Args:
            token_type_ids (Tensor): [b, s], the segment of each token; 0 by default.
        """
        words = embed_inputs(self.embeddings.word_embeddings, input_ids, inputs_embeds)
        check_length(context, self.embeddings.position_embeddings.num_embeddings)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(context.positions)
        x = self.embeddings(words, context.positions, token_type_ids)
        return context.finished(run_blocks(self.encoder.layer, x, context))

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """See `Backbone.pooled`."""
        return self.pooler(first_states(x, attention_mask))


class BertPredictions(nn.Module):
    """The masked-language-model head: transform, then one score for each word."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertTransform(config)
        self.decoder = linear(config.hidden_size, config.vocab_size, bias=True)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))  # tied to the decoder's

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, vocab]"""
        return self.decoder(self.transform(x))


class BertTransform(nn.Module):
    """Linear, activation, norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)
        self.act = activation(config.hidden_act)
        self.LayerNorm = layer_norm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.LayerNorm(self.act(self.dense(x)))


class BertMaskedLM(MaskedLM):
    """BERT's masked-language-model head."""

    def add_head(self, config: ModelConfig) -> None:
        assert isinstance(config, BertConfig)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})

    @classmethod
    def ignorable(cls) -> dict[str, str]:
        next_sentence = {r"^cls\.seq_relationship\.": "the next-sentence head is not part of it"}
        return super().ignorable() | next_sentence

    @classmethod
    def ties(cls) -> dict[str, str]:
        return {
            "cls.predictions.decoder.weight": f"{cls.base()}.{cls.backbone.tokens}.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        }

    def answer(self, x: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        return self.cls["predictions"](x)
