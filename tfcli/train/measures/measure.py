"""What a measure is to a validation: a model's answers, and figures of all of them together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tfcli.metrics.compute import compute
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.train.batch import Batch

LOSS = "loss"
"""The figure that every validation has; the lowest is the best one."""


class Measure(ABC):
    """Figures beside the loss, from answers that are gathered from all processes.

    Class attributes:
        generates: the model makes texts, by itself and as long as it takes.

    Attributes:
        names: of the metrics.
    """

    names: Sequence[str]
    generates: ClassVar[bool] = False

    @abstractmethod
    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        """What the model answers to the examples of a batch, one each, off the device.

        Args:
            model: in eval mode.
            batch: on the model's device.
            output: of the forward pass whose loss was taken.
            numbers: of the examples among those of the validation.
        """

    @abstractmethod
    def figures(self, answers: Sequence[Any]) -> Mapping[str, float]:
        """The figures of all answers, in the order of the examples, by their names."""


class Compared(Measure):
    """One whose answers are pairs of a prediction and what is right.

    Args:
        names: of the metrics.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def figures(self, answers: Sequence[tuple[Any, Any]]) -> Mapping[str, float]:
        """The metrics of all predictions."""
        predictions, references = zip(*answers, strict=True)
        return compute(self.names, predictions, references)


@dataclass(frozen=True)
class Better:
    """Which of two validations is the better one.

    Args:
        name: of the figure that says it.
        higher: whether more of it is better.
        least: by how much it must be better.
    """

    name: str = LOSS
    higher: bool = False
    least: float = 0.0

    def __call__(self, new: Mapping[str, float], old: Mapping[str, float] | None) -> bool:
        """Whether the figures of `new` are better than those of `old`; what has none is worst."""
        if old is None or old.get(self.key) is None:
            return True
        if new.get(self.key) is None:
            return False
        difference = new[self.key] - old[self.key]
        return (difference if self.higher else -difference) > self.least

    @property
    def key(self) -> str:
        """Of the figure in metrics.jsonl."""
        return f"val_{self.name}"


LOWEST_LOSS = Better()
"""Where nothing else is asked for."""
