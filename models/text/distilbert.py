"""DistilBERT (Sanh et al. 2019): BERT without segments and pooler, half as deep.

Reference: transformers `modeling_distilbert.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.backbone import Backbone, first_states
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.distilbert import DistilBertConfig
from tfcli.models.context import Context
from tfcli.models.heads.masked_lm import MaskedLM
from tfcli.models.heads.multiple_choice import MultipleChoice
from tfcli.models.heads.question_answering import QuestionAnswering
from tfcli.models.heads.sequence_classification import SequenceClassification, whole
from tfcli.models.layers.activations import activation
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.embeddings import check_length
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.text.bert import BertEmbeddings, BertModel


class DistilBertAttention(nn.Module):
    """Multi-head attention with its output projection."""

    def __init__(self, config: DistilBertConfig, attention: str) -> None:
        super().__init__()
        size = config.hidden_size
        self.head_dim = config.head_dim
        self.q_lin = linear(size, size, bias=True)
        self.k_lin = linear(size, size, bias=True)
        self.v_lin = linear(size, size, bias=True)
        self.out_lin = linear(size, size, bias=True)
        self.attend = Attend(attention, self.head_dim**-0.5, config.attention_probs_dropout_prob)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        query, key, value = (
            split_heads(project(x), self.head_dim)
            for project in (self.q_lin, self.k_lin, self.v_lin)
        )
        return self.out_lin(self.attend(query, key, value, context.full(), context.attentions))


class DistilBertMLP(nn.Module):
    """Two linears with an activation between."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.lin1 = linear(config.hidden_size, config.intermediate_size, bias=True)
        self.lin2 = linear(config.intermediate_size, config.hidden_size, bias=True)
        self.act = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.dropout(self.lin2(self.act(self.lin1(x))))


class DistilBertBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: DistilBertConfig, attention: str) -> None:
        super().__init__()
        self.attention = DistilBertAttention(config, attention)
        self.sa_layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.ffn = DistilBertMLP(config)
        self.output_layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = self.sa_layer_norm(x + self.attention(x, context))
        return self.output_layer_norm(x + self.ffn(x))


class DistilBertModel(Backbone[DistilBertConfig]):
    """Word and position embeddings, and blocks."""

    config: DistilBertConfig

    prefix = "distilbert"
    tokens = "embeddings.word_embeddings"
    rules = BertModel.rules
    ignorable = BertModel.ignorable
    walk = CalibrationWalk(
        blocks="transformer.layer",
        groups=(
            ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
            ("attention.out_lin",),
            ("ffn.lin1",),
            ("ffn.lin2",),
        ),
    )

    def __init__(self, config: DistilBertConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.embeddings = BertEmbeddings(config)
        blocks = (DistilBertBlock(config, attention) for _ in range(config.num_hidden_layers))
        self.transformer = nn.ModuleDict({"layer": nn.ModuleList(blocks)})

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        check_length(context, self.embeddings.position_embeddings.num_embeddings)
        x = self.embeddings(x, context.positions)
        blocks = self.transformer["layer"]
        assert isinstance(blocks, nn.ModuleList)
        return context.finished(run_blocks(blocks, x, context))

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        if name == "embeddings.position_embeddings.weight" and self.config.sinusoidal_pos_embds:
            return interleaved_sinusoids(*shape)
        return None


def interleaved_sinusoids(positions: int, size: int) -> torch.Tensor:
    """Sines in even columns, cosines in odd ones (Vaswani et al. 2017). [positions, size]"""
    columns = torch.arange(size, dtype=torch.float64)
    rates = 10000.0 ** (-2 * (columns // 2) / size)
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).float()


class DistilBertMaskedLM(MaskedLM):
    """DistilBERT's masked-language-model head."""

    config: DistilBertConfig

    def add_head(self) -> None:
        config = self.config
        size = config.hidden_size
        self.vocab_transform = linear(size, size, bias=True)
        self.act = activation(config.hidden_act)
        self.vocab_layer_norm = layer_norm(size, config.layer_norm_eps)
        self.vocab_projector = linear(size, config.vocab_size, bias=True)

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        return {"vocab_projector.weight": f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight"}

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        x = self.vocab_layer_norm(self.act(self.vocab_transform(x)))
        return self.vocab_projector(x)


class DistilBertClassification(SequenceClassification):
    """The first token's state through a linear and relu, dropout, one linear."""

    config: DistilBertConfig

    pools = False

    def add_head(self) -> None:
        config = self.config
        self.pre_classifier = linear(config.hidden_size, config.hidden_size, bias=True)
        self.dropout = nn.Dropout(config.seq_classif_dropout)
        self.classifier = linear(config.hidden_size, self.outputs(config), bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        first = first_states(x, whole(inputs).get("attention_mask"))
        return self.classifier(self.dropout(self.pre_classifier(first).relu()))


class DistilBertMultipleChoice(DistilBertClassification, MultipleChoice):
    """The same for each choice."""

    task = "multiple-choice"


class DistilBertQuestionAnswering(QuestionAnswering):
    """With dropout before the linear."""

    config: DistilBertConfig

    def add_head(self) -> None:
        super().add_head()
        self.dropout = nn.Dropout(self.config.qa_dropout)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return super().answer(self.dropout(x), inputs)
