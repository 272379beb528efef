"""A label for each token."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.config import ModelConfig
from tfcli.models.heads.plain import PlainHead
from tfcli.models.layers.linear import linear


class TokenClassification(PlainHead):
    """Dropout and one linear, `classifier`. Logits [b, s, labels].

    `labels` are [b, s], -100 where there is none.
    """

    task = "token-classification"

    def add_head(self, config: ModelConfig) -> None:
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(self.body.width(), config.num_labels, bias=True)

    def answer(self, x: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        return self.classifier(self.dropout(x))


class TokenScore(TokenClassification):
    """The same, where checkpoints call the linear `score` (most decoders)."""

    def add_head(self, config: ModelConfig) -> None:
        self.dropout = nn.Dropout(config.head_dropout)
        self.score = linear(self.body.width(), config.num_labels, bias=True)

    def answer(self, x: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        return self.score(self.dropout(x))
