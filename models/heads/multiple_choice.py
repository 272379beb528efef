"""Which of several texts fits best."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.config import ModelConfig
from tfcli.models.heads.sequence_classification import SequenceClassification, whole
from tfcli.models.layers.linear import linear
from tfcli.models.losses import classification_loss
from tfcli.models.output import ModelOutput


class MultipleChoice(SequenceClassification):
    """The pooled state of each choice through one linear. Logits [b, choices].

    Inputs have one more dimension than elsewhere: `input_ids` are [b, choices, s].
    `labels` are [b]: which choice is right.
    """

    task = "multiple-choice"

    def add_head(self, config: ModelConfig) -> None:
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config.hidden_size, 1, bias=True)

    def forward(self, **inputs: Any) -> ModelOutput:  # type: ignore[override]
        """Arguments as in `PlainHead.forward`, with the choices as second dimension."""
        choices = next(
            inputs[name].shape[1]
            for name in ("input_ids", "inputs_embeds")
            if inputs.get(name) is not None
        )
        labels = inputs.pop("labels", None)
        rows: dict[str, Any] = {
            name: value.flatten(0, 1) if isinstance(value, torch.Tensor) else value
            for name, value in inputs.items()
        }
        output = super().forward(**rows)
        assert output.logits is not None
        output.logits = output.logits.view(-1, choices)
        if labels is not None:
            output.loss = classification_loss(output.logits, labels, "single_label_classification")
        return output

    def answer(self, x: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        pooled = self.body.pooled(x, whole(inputs)["attention_mask"])
        return self.classifier(self.dropout(pooled))
