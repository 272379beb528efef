"""Where in the input the answer begins and ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tfcli.models.layers.linear import linear
from tfcli.models.losses import span_loss
from tfcli.models.model import Model


class QuestionAnswering(Model):
    """One linear, `qa_outputs`. Logits [b, s, 2]: of the first and of the last token.

    `labels` are [b, 2]: both positions. A position past the input counts for nothing.
    """

    task = "question-answering"

    def add_head(self) -> None:
        self.qa_outputs = linear(self.body.width(), 2, bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.qa_outputs(x)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        return span_loss(logits, labels, **more)
