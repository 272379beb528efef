"""ELECTRA (Clark et al. 2020): BERT with narrow embeddings; a generator and a discriminator.

Reference: transformers `modeling_electra.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.backbone import first_states
from tfcli.models.config import BaseConfig
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.configs.electra import ElectraConfig
from tfcli.models.configs.xlnet import XLNetConfig
from tfcli.models.context import Context
from tfcli.models.heads.masked_lm import MaskedLM
from tfcli.models.heads.multiple_choice import MultipleChoice
from tfcli.models.heads.sequence_classification import whole
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.losses import IGNORED, binary_token_loss
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.text.bert import BertModel, BertTransform
from tfcli.models.text.roberta import RobertaClassification


class ElectraModel(BertModel):
    """Embeddings, a linear that widens them, blocks. There is no pooler."""

    config: ElectraConfig

    prefix = "electra"
    optional = ()

    def __init__(self, config: EncoderConfig, attention: str) -> None:
        super().__init__(config, attention)
        narrow = config.embedding_size != config.hidden_size
        self.embeddings_project = (
            linear(config.embedding_size, config.hidden_size, bias=True) if narrow else None
        )

    def placed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        x = super().placed(x, context)
        return x if self.embeddings_project is None else self.embeddings_project(x)


class ElectraMaskedLM(MaskedLM):
    """The generator's head."""

    config: EncoderConfig

    def add_head(self) -> None:
        config = self.config
        self.generator_predictions = BertTransform(config, act="gelu")
        self.generator_lm_head = linear(config.embedding_size, config.vocab_size, bias=True)

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        return {
            "generator_lm_head.weight": f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight"
        }

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.generator_lm_head(self.generator_predictions(x))


class ElectraDiscriminator(nn.Module):
    """Linear, activation, and one score for each token."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)
        self.act = activation(config.hidden_act)
        self.dense_prediction = linear(config.hidden_size, 1, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s]"""
        return self.dense_prediction(self.act(self.dense(x)))[..., 0]


class ElectraPretraining(Model):
    """The discriminator's head: was a token replaced? Logits [b, s], above 0 where it was.

    `labels` are [b, s]: 1 for a replaced token, 0 for another, -100 where it does not count. What
    `attention_mask` hides does not count either.
    """

    task = "pretraining"
    config: ElectraConfig

    def add_head(self) -> None:
        self.discriminator_predictions = ElectraDiscriminator(self.config)

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        output.logits = self.discriminator_predictions(x)
        if labels is not None:
            mask = inputs.get("attention_mask")
            seen = labels if mask is None else labels.masked_fill(mask == 0, IGNORED)
            output.loss = binary_token_loss(output.logits, seen, num_target_tokens)


class ElectraClassification(RobertaClassification):
    """RoBERTa's classifier with another activation."""

    act = "gelu"


class ElectraSummary(nn.Module):
    """Linear, activation, dropout; the first two only where the config asks for them."""

    def __init__(self, config: ElectraConfig | XLNetConfig) -> None:
        super().__init__()
        size, act = config.hidden_size, config.summary_activation
        self.summary = linear(size, size, bias=True) if config.summary_use_proj else nn.Identity()
        self.act = activation(act) if act else nn.Identity()
        self.dropout = nn.Dropout(config.summary_last_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d] -> [b, d]"""
        return self.dropout(self.act(self.summary(x)))


class ElectraMultipleChoice(MultipleChoice):
    """A summary of the first token's state, and one linear."""

    config: ElectraConfig

    pools = False

    def add_head(self) -> None:
        self.sequence_summary = ElectraSummary(self.config)
        self.classifier = linear(self.config.hidden_size, 1, bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        first = first_states(x, whole(inputs).get("attention_mask"))
        return self.classifier(self.sequence_summary(first))
