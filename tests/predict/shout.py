"""A task as a package would add it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.options.shared import Options
from tfcli.predict.task import Sample
from tfcli.predict.texts import TextTask, text_of


class ShoutOptions(Options):
    mark: str = "!"


class Shout(TextTask[ShoutOptions]):
    """The best label, aloud."""

    name = "shout"
    inputs = ("text",)
    options_class = ShoutOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, "sequence-classification")

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        return [Sample(self.text_inputs(self.encode(text_of(row, "text"))))]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        return self.parts.labels[int(outputs[0].argmax())].upper() + self.options.mark
