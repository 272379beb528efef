"""Labels or a number for a whole input."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.backbone import last_states
from tfcli.models.config import ModelConfig
from tfcli.models.errors import ModelError
from tfcli.models.heads.plain import PlainHead
from tfcli.models.layers.linear import linear
from tfcli.models.losses import classification_loss


class SequenceClassification(PlainHead):
    """An encoder's classifier: the pooled state, dropout, one linear. Logits [b, labels].

    `labels` are those of `losses.classification_loss`.
    """

    task = "sequence-classification"
    pools = True

    @staticmethod
    def outputs(config: ModelConfig) -> int:
        """How many numbers the last linear gives for a row."""
        return config.num_labels

    def add_head(self, config: ModelConfig) -> None:
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(self.body.width(), self.outputs(config), bias=True)

    def answer(self, x: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        pooled = self.body.pooled(x, whole(inputs)["attention_mask"])
        return self.classifier(self.dropout(pooled))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        return classification_loss(logits, labels, self.config.problem_type, **more)


class LastTokenClassification(SequenceClassification):
    """A decoder's classifier: one linear on the state of the last token. Logits [b, labels].

    The last token is the last one of attention_mask; without a mask, the last that is not
    config.pad_token_id.
    """

    pools = False

    def add_head(self, config: ModelConfig) -> None:
        self.score = linear(self.body.width(), config.num_labels, bias=False)

    def answer(self, x: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        mask, ids = whole(inputs)["attention_mask"], inputs["input_ids"]
        if mask is None and ids is not None and self.config.pad_token_id is not None:
            mask = ids != self.config.pad_token_id
        return self.score(last_states(x, mask))


def whole(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a head that looks at a row as one text.

    Raises:
        ModelError: rows are several texts.
    """
    if inputs["segment_ids"] is not None:
        raise ModelError("a classifier of whole inputs takes no packed texts (segment_ids)")
    return inputs
