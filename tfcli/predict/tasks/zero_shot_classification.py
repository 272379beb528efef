"""`zero-shot-classification`: which of any labels fits a text, by a model of entailment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import ZeroShotOptions
from tfcli.predict.task import Sample
from tfcli.predict.tasks.text_classification import HEAD
from tfcli.predict.texts import TextTask, cut_text, labels_of, longest, text_of


class ZeroShotClassification(TextTask[ZeroShotOptions]):
    """A row has a `text`, and may have `candidate_labels` of its own. Each label is a hypothesis
    that the text entails or not; they are samples of their own."""

    name = "zero-shot-classification"
    inputs = ("text",)
    optional = ("candidate_labels",)
    options_class = ZeroShotOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, HEAD)

    def prepare(self) -> None:
        entails = [
            number
            for number, label in enumerate(self.parts.labels)
            if label.lower().startswith("entail")
        ]
        self.entailment = entails[0] if entails else len(self.parts.labels) - 1
        if not entails:
            self.parts.console.warn(
                "no label of the model says entailment: the last one is taken for it"
            )

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        text = text_of(row, "text")
        labels = labels_of(row, self.options.candidate_labels)
        return [self._sample(text, label) for label in labels]

    def _sample(self, text: str, label: str) -> Sample:
        claim = self.options.hypothesis_template.format(label)
        room = self.options.max_length or longest(self.parts)
        if self.options.truncation and room is not None:
            whole = self.parts.tokenizer.batch([text], [claim], return_word_ids=True)
            kept = cut_text(whole, room, text=0)
            return Sample(self.model_inputs(*kept), (text, label))
        return Sample(self.text_inputs(self.encode(text, claim)), (text, label))

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        logits = torch.stack(list(outputs))
        if self.options.multi_label or len(samples) == 1:
            against = -1 if self.entailment == 0 else 0
            scores = logits[:, [against, self.entailment]].softmax(-1)[:, 1]
        else:
            scores = logits[:, self.entailment].softmax(-1)
        order = scores.argsort(descending=True, stable=True).tolist()
        return {
            "sequence": samples[0].about[0],
            "labels": [samples[place].about[1] for place in order],
            "scores": [float(scores[place]) for place in order],
        }
