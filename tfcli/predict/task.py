"""A task: how a row becomes inputs of a model, and what the model says becomes an answer.

    class Shout(Task):
        name = "shout"
        inputs = ("text",)

        @classmethod
        def head(cls, config): return "masked-lm"
        def preprocess(self, row): return [Sample(self.encode(row["text"]))]
        def postprocess(self, samples, outputs): return ...

A row may become several samples, such as the windows of a long text: they go through the model in
batches with those of other rows, and come back together. docs/predict.md says how one is added.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.config import BaseConfig
from tfcli.predict.options.shared import Options
from tfcli.predict.padding import alike, side_by_side
from tfcli.predict.parts import Parts

O = TypeVar("O", bound=Options)


@dataclass(frozen=True, eq=False)
class Sample:
    """What the model sees at once of a row.

    Args:
        inputs: name -> tensor without a dimension of the batch, such as `input_ids` [s].
        about: what `postprocess` must know of it.
    """

    inputs: Mapping[str, Tensor]
    about: Any = None


class Task(ABC, Generic[O]):
    """One way of asking a model.

    Class attributes:
        name: as users give it.
        inputs: the columns that a row must have.
        optional: those that it may have.
        options_class: what can be asked for.

    Args:
        parts: the model and its files.
        options: as the user gave them.
        asked: the name by which the user asked for it, as `translation_en_to_de`.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    options_class: ClassVar[type[Options]] = Options

    def __init__(self, parts: Parts, options: O, asked: str) -> None:
        self.parts, self.options, self.asked = parts, options, asked
        self.prepare()

    @classmethod
    @abstractmethod
    def head(cls, config: BaseConfig) -> str:
        """The head that the model of a config is loaded with.

        Raises:
            UsageError: its family has none that this task can ask.
        """

    @classmethod
    def of(cls, config: BaseConfig) -> type[Task[Any]]:
        """The class for a model's config, where kinds of models go about the task differently."""
        return cls

    def prepare(self) -> None:
        """Make what all rows need, and refuse options that do not fit the model.

        Raises:
            UsageError: such options.
        """

    @abstractmethod
    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        """The samples of a row, at least one.

        Args:
            row: input -> what stands there; it has all of `inputs`, and `folder`, from which paths
                lead on.

        Raises:
            Problem: a row that is wrong.
        """

    def together(self, one: Sample, other: Sample) -> bool:
        """Whether two samples can go into one batch."""
        return alike([one.inputs, other.inputs], self.fill())

    def batch(self, samples: Sequence[Sample]) -> Any:
        """What `forward` takes of samples: their inputs side by side, filled up to the longest and
        on the model's device, name -> [b, ...]."""
        rows = [sample.inputs for sample in samples]
        return {
            name: tensor.to(self.parts.device)
            for name, tensor in side_by_side(rows, self.fill(), self.padding_side).items()
        }

    def fill(self) -> Mapping[str, int]:
        """What inputs of unlike length are filled up with: name -> value. Others are not."""
        return {}

    @property
    def padding_side(self) -> str:
        """Where inputs are filled up."""
        return "right"

    def forward(self, batch: Any) -> Sequence[Any]:
        """What the model says of each sample of a batch, in the processor's memory.

        Args:
            batch: what `batch` gives.

        Raises:
            WorkError: numbers that are not finite.
        """
        logits = self.parts.model(**batch).logits
        assert isinstance(logits, Tensor), "its head has them"
        return require_finite(logits.float().cpu(), self.parts.name).unbind(0)

    @abstractmethod
    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Any]) -> Any:
        """The answer to a row, of what JSON has.

        Args:
            samples: those of the row.
            outputs: what `forward` gave for each.
        """


def require_finite(values: Tensor, model: str) -> Tensor:
    """The same values.

    Raises:
        WorkError: one is not a number, or infinite.
    """
    if not bool(torch.isfinite(values).all()):
        raise WorkError("the model's output is not finite", where=model)
    return values
