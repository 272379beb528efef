"""Which of several texts fits best."""

from __future__ import annotations

from typing import Any

import torch

from tfcli.models.config import BaseConfig
from tfcli.models.errors import ModelError
from tfcli.models.heads.sequence_classification import SequenceClassification
from tfcli.models.losses import classification_loss
from tfcli.models.output import ModelOutput


class MultipleChoice(SequenceClassification):
    """The pooled state of each choice through one linear. Logits [b, choices].

    Inputs have one more dimension than elsewhere: `input_ids` are [b, choices, s].
    `labels` are [b]: which choice is right.
    """

    task = "multiple-choice"

    @staticmethod
    def outputs(config: BaseConfig) -> int:
        return 1

    def forward(self, **inputs: Any) -> ModelOutput:  # type: ignore[override]
        """Arguments as in `Model.forward`, with the choices as second dimension."""
        questions, choices = choices_of(inputs)
        labels = inputs.pop("labels", None)
        rows: dict[str, Any] = {
            name: value.flatten(0, 1) if isinstance(value, torch.Tensor) else value
            for name, value in inputs.items()
        }
        output = super().forward(**rows)
        if output.logits is None:
            raise ModelError("choices are compared by their logits", fix="leave out return_logits")
        output.logits = output.logits.view(questions, choices)
        if labels is not None:
            output.loss = classification_loss(output.logits, labels, "single_label_classification")
        return output


def choices_of(inputs: dict[str, Any]) -> tuple[int, int]:
    """How many questions there are, and how many choices each has.

    Raises:
        ModelError: the input has no dimension of choices, or there is none.
    """
    for name, dims in (("input_ids", 3), ("inputs_embeds", 4)):
        given = inputs.get(name)
        if given is not None:
            if given.ndim != dims:
                raise ModelError(
                    f"{name} has shape {tuple(given.shape)}, expected [b, choices, s"
                    f"{', d' if dims == 4 else ''}]",
                    fix="give every question its choices, as many as the others have",
                )
            return given.shape[0], given.shape[1]
    raise ModelError("give exactly one of input_ids and inputs_embeds")
