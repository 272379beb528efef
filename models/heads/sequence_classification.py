"""Labels or a number for a whole input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.backbone import last_states
from tfcli.models.config import BaseConfig
from tfcli.models.errors import ModelError
from tfcli.models.layers.linear import linear
from tfcli.models.losses import classification_loss
from tfcli.models.model import Model


class SequenceClassification(Model):
    """An encoder's classifier: the pooled state, dropout, one linear. Logits [b, labels].

    `labels` are those of `losses.classification_loss`.
    """

    task = "sequence-classification"
    pools = True

    @staticmethod
    def outputs(config: BaseConfig) -> int:
        """How many numbers the last linear gives for a row."""
        return config.num_labels

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.head_dropout)
        self.classifier = linear(self.body.width(), self.outputs(self.config), bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        pooled = self.body.pooled(x, whole(inputs).get("attention_mask"))
        return self.classifier(self.dropout(pooled))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        return classification_loss(logits, labels, self.config.problem_type, **more)


class LastTokenClassification(SequenceClassification):
    """A decoder's classifier: one linear on the state of the last token. Logits [b, labels].

    The last token is the last one of attention_mask; without a mask, the last that is not
    config.pad_token_id.
    """

    pools = False

    def add_head(self) -> None:
        self.score = linear(self.body.width(), self.config.num_labels, bias=False)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        mask, ids = whole(inputs).get("attention_mask"), inputs.get("input_ids")
        padding = self.config.text.pad_token_id
        if mask is None and ids is not None and padding is not None:
            mask = ids != padding
        return self.score(last_states(x, mask))


def whole(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inputs of a head that looks at a row as one text.

    Raises:
        ModelError: rows are several texts.
    """
    if inputs.get("segment_ids") is not None:
        raise ModelError("a classifier of whole inputs takes no packed texts (segment_ids)")
    return inputs
