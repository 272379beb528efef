"""A label for each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.layers.linear import linear
from tfcli.models.model import Model


class TokenClassification(Model):
    """Dropout and one linear, `classifier`. Logits [b, s, labels].

    `labels` are [b, s], -100 where there is none.
    """

    task = "token-classification"

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.head_dropout)
        self.classifier = linear(self.body.width(), self.config.num_labels, bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.classifier(self.dropout(x))


class TokenScore(TokenClassification):
    """The same, where checkpoints call the linear `score` (most decoders)."""

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.head_dropout)
        self.score = linear(self.body.width(), self.config.num_labels, bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.score(self.dropout(x))
