"""`image-classification` and `image-feature-extraction`: labels and vectors of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.media import medium_of, pixels_of
from tfcli.predict.options.media import ImageClassificationOptions, ImageFeatureOptions
from tfcli.predict.scores import ranked, scores_of, usual_function
from tfcli.predict.task import Sample, Task, require_finite


class ImageClassification(Task[ImageClassificationOptions]):
    """A row has an `image`. The answer is a list of labels with scores."""

    name = "image-classification"
    inputs = ("image",)
    options_class = ImageClassificationOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, cls.name)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        return [Sample(pixels_of(self.parts, medium_of(row, "image")))]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        function = self.options.function_to_apply or usual_function(self.parts.config)
        return ranked(scores_of(outputs[0], function), self.parts.labels, self.options.top_k)


class ImageFeatureExtraction(Task[ImageFeatureOptions]):
    """A row has an `image`. The answer is a vector for each of its patches, in a list for the one
    image; with `pool` one vector for it."""

    name = "image-feature-extraction"
    inputs = ("image",)
    options_class = ImageFeatureOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, "embedding")

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        return [Sample(pixels_of(self.parts, medium_of(row, "image")))]

    def forward(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        """The states of each image, [patches, d], or with `pool` [d]."""
        output = self.parts.model(**batch)
        found = output.pooler_output if self.options.pool else output.last_hidden_state
        if found is None:
            raise UsageError(
                "the model has no pooler",
                where="options.pool",
                fix="leave it out: the states are given then",
            )
        return require_finite(found.float().cpu(), self.parts.name).unbind(0)

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        return [outputs[0].tolist()]
