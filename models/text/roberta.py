"""RoBERTa (Liu et al. 2019): BERT with positions that begin after the padding id's row.

XLM-RoBERTa (Conneau et al. 2019) and CamemBERT (Martin et al. 2019) are the same model.
Reference: transformers `modeling_roberta.py`; names of modules and parameters are the same. There,
the padding id in the input marks padding; here, as everywhere, the attention mask does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import first_states
from tfcli.models.config import BaseConfig
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.heads.masked_lm import MaskedLM
from tfcli.models.heads.sequence_classification import SequenceClassification, whole
from tfcli.models.layers.activations import activation
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.text.bert import BertEmbeddings, BertModel


class RobertaEmbeddings(BertEmbeddings):
    """BERT's, where the padding id has a row of its own in the position table too."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.position_embeddings = Embedding(
            config.max_position_embeddings, config.embedding_size, config.pad_token_id
        )


class RobertaModel(BertModel):
    """Embeddings, blocks, and a pooler for multiple choice.

    `position_ids` count from 0, as in every family; the offset is added here.
    """

    prefix = "roberta"

    def __init__(self, config: EncoderConfig, attention: str) -> None:
        super().__init__(config, attention)
        assert config.pad_token_id is not None  # the config has checked it
        self.first_position = config.pad_token_id + 1

    def make_embeddings(self) -> BertEmbeddings:
        return RobertaEmbeddings(self.config)


class RobertaPredictions(nn.Module):
    """Linear, gelu, norm, and one score for each word."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)
        self.act = activation("gelu")
        self.layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.decoder = linear(config.hidden_size, config.vocab_size, bias=True)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))  # tied to the decoder's

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, vocab]"""
        return self.decoder(self.layer_norm(self.act(self.dense(x))))


class RobertaMaskedLM(MaskedLM):
    """RoBERTa's masked-language-model head."""

    config: EncoderConfig

    def add_head(self) -> None:
        self.lm_head = RobertaPredictions(self.config)

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        return {
            "lm_head.decoder.weight": f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        }

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.lm_head(x)


class RobertaClassifier(nn.Module):
    """Two linears, each after dropout.

    Args:
        config: of the family.
        act: name of the activation between them.
    """

    def __init__(self, config: EncoderConfig, act: str) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)
        self.act = activation(act)
        self.dropout = nn.Dropout(config.head_dropout)
        self.out_proj = linear(config.hidden_size, config.num_labels, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d] -> [b, labels]"""
        return self.out_proj(self.dropout(self.act(self.dense(self.dropout(x)))))


class RobertaClassification(SequenceClassification):
    """RoBERTa's classifier of the first token's state.

    Class attributes:
        act: name of the activation between its linears.
    """

    config: EncoderConfig
    pools = False
    act: ClassVar[str] = "tanh"

    def add_head(self) -> None:
        self.classifier = RobertaClassifier(self.config, self.act)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.classifier(first_states(x, whole(inputs).get("attention_mask")))
