"""`audio-classification`: labels of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.media import extractor_of, samples_of
from tfcli.predict.options.media import ImageClassificationOptions
from tfcli.predict.scores import ranked, scores_of, usual_function
from tfcli.predict.task import Sample, Task


class AudioClassification(Task[ImageClassificationOptions]):
    """A row has `audio`; where that is an array, also its `sampling_rate`. The answer is a list of
    labels with scores. Recordings of unlike length are heard one by one."""

    name = "audio-classification"
    inputs = ("audio",)
    optional = ("sampling_rate",)
    options_class = ImageClassificationOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, cls.name)

    def prepare(self) -> None:
        self.extractor = extractor_of(self.parts)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        rate = self.extractor.settings.sampling_rate
        made = self.extractor(samples_of(self.parts, self.extractor, row), rate)
        return [Sample({name: tensor[0] for name, tensor in made.items()})]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        config = self.parts.config
        # A single label is one of several here, and no yes or no.
        usual = "softmax" if config.problem_type is None else usual_function(config)
        scores = scores_of(outputs[0], self.options.function_to_apply or usual)
        return ranked(scores, self.parts.labels, self.options.top_k)
