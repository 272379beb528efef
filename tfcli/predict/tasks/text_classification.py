"""`text-classification`: labels of a text, or of a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import TextClassificationOptions
from tfcli.predict.scores import best_or_all, ranked, scores_of, usual_function
from tfcli.predict.task import Sample
from tfcli.predict.texts import TextTask, text_of

HEAD = "sequence-classification"


class TextClassification(TextTask[TextClassificationOptions]):
    """A row has a `text`, and may have a `text_pair`. The answer is a label with its score."""

    name = "text-classification"
    inputs = ("text",)
    optional = ("text_pair",)
    options_class = TextClassificationOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, HEAD)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        pair = text_of(row, "text_pair") if "text_pair" in row else None
        return [Sample(self.text_inputs(self.encode(text_of(row, "text"), pair)))]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        function = self.options.function_to_apply or usual_function(self.parts.config)
        scores = scores_of(outputs[0], function)
        top_k = self.options.top_k
        return best_or_all(ranked(scores, self.parts.labels, top_k), top_k)
