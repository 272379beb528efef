"""`multiple-choice`: which of several ends fits a text best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import MultipleChoiceOptions
from tfcli.predict.scores import best_or_all
from tfcli.predict.task import Sample
from tfcli.predict.texts import TextTask, text_of, texts_of


class MultipleChoice(TextTask[MultipleChoiceOptions]):
    """A row has a `text` and `choices`, samples of their own. The answer is the number of the best
    choice, its text, and its score among the others."""

    name = "multiple-choice"
    inputs = ("text", "choices")
    options_class = MultipleChoiceOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, cls.name)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        text = text_of(row, "text")
        samples = []
        for choice in texts_of(row, "choices"):
            batch = self.encode(text, choice)
            samples.append(Sample(self.text_inputs(batch), choice))
        return samples

    def forward(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        """The logit of each choice: the head sees each as the only one of a question."""
        return super().forward({name: tensor[:, None] for name, tensor in batch.items()})

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        scores = torch.cat(list(outputs)).softmax(-1)
        order = scores.argsort(descending=True, stable=True).tolist()
        found = [
            {"choice": place, "text": samples[place].about, "score": float(scores[place])}
            for place in order
        ]
        return best_or_all(found[: self.options.top_k], self.options.top_k)
