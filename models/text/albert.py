"""ALBERT (Lan et al. 2019): BERT with narrow embeddings and layers that share their parameters.

Reference: transformers `modeling_albert.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.backbone import first_states
from tfcli.models.blocks.encoder import SelfAttention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.albert import AlbertConfig
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.context import Context
from tfcli.models.heads.masked_lm import MaskedLM
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.text.bert import BertModel, BertTransform


class AlbertAttention(SelfAttention):
    """Self-attention and its residual, in one module."""

    def __init__(self, config: AlbertConfig, attention: str) -> None:
        super().__init__(
            config.hidden_size,
            config.num_attention_heads,
            config.attention_probs_dropout_prob,
            attention,
        )
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)
        self.LayerNorm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.LayerNorm(x + self.dropout(self.dense(super().forward(x, context))))


class AlbertLayer(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x)), without dropout on the latter."""

    def __init__(self, config: AlbertConfig, attention: str) -> None:
        super().__init__()
        self.attention = AlbertAttention(config, attention)
        self.ffn = linear(config.hidden_size, config.intermediate_size, bias=True)
        self.ffn_output = linear(config.intermediate_size, config.hidden_size, bias=True)
        self.full_layer_layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = self.attention(x, context)
        return self.full_layer_layer_norm(x + self.ffn_output(self.act(self.ffn(x))))


class AlbertGroup(nn.Module):
    """The blocks of one group of layers."""

    def __init__(self, config: AlbertConfig, attention: str) -> None:
        super().__init__()
        self.albert_layers = nn.ModuleList(
            AlbertLayer(config, attention) for _ in range(config.inner_group_num)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        for position, layer in enumerate(self.albert_layers):
            if position > 0 and context.hidden_states is not None:
                context.hidden_states.append(x)  # the first one's input is recorded already
            x = layer(x, context)
        return x


class AlbertEncoder(nn.Module):
    """Widens the embeddings and runs each layer's group."""

    def __init__(self, config: AlbertConfig, attention: str) -> None:
        super().__init__()
        self.embedding_hidden_mapping_in = linear(
            config.embedding_size, config.hidden_size, bias=True
        )
        self.albert_layer_groups = nn.ModuleList(
            AlbertGroup(config, attention) for _ in range(config.num_hidden_groups)
        )
        self.order = [config.group(layer) for layer in range(config.num_hidden_layers)]

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, embedding_size] -> [b, s, d]"""
        x = self.embedding_hidden_mapping_in(x)
        return run_blocks((self.albert_layer_groups[group] for group in self.order), x, context)


class AlbertModel(BertModel):
    """Embeddings, shared blocks, and a pooler for classifiers of whole inputs."""

    config: AlbertConfig

    prefix = "albert"

    def __init__(self, config: AlbertConfig, attention: str) -> None:
        super().__init__(config, attention)
        inner = [f"albert_layers.{i}" for i in range(config.inner_group_num)]
        self.walk = CalibrationWalk(
            blocks="encoder.albert_layer_groups",
            groups=tuple(
                group
                for at in inner
                for group in (
                    tuple(f"{at}.attention.{name}" for name in ("query", "key", "value")),
                    (f"{at}.attention.dense",),
                    (f"{at}.ffn",),
                    (f"{at}.ffn_output",),
                )
            ),
            chained=config.num_hidden_layers == config.num_hidden_groups,
        )

    def make_encoder(self) -> nn.Module:
        return AlbertEncoder(self.config, self.attention)

    def add_pooler(self) -> None:
        self.pooler = linear(self.config.hidden_size, self.config.hidden_size, bias=True)

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return torch.tanh(self.pooler(first_states(x, attention_mask)))


class AlbertPredictions(BertTransform):
    """Transform, then one score for each word."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.decoder = linear(config.embedding_size, config.vocab_size, bias=True)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))  # tied to the decoder's

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, vocab]"""
        return self.decoder(super().forward(x))


class AlbertMaskedLM(MaskedLM):
    """ALBERT's masked-language-model head."""

    config: EncoderConfig

    def add_head(self) -> None:
        self.predictions = AlbertPredictions(self.config)

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        sentence_order = {r"^sop_classifier\.": "the sentence-order head is not part of it"}
        return super().ignorable_of(config) | sentence_order

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        return {
            "predictions.decoder.weight": f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight",
            "predictions.decoder.bias": "predictions.bias",
        }

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.predictions(x)
