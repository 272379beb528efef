"""What an objective is to the loop: examples into batches, a count, and a loss that adds up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tfcli.console import Console
from tfcli.models.config import BaseConfig
from tfcli.models.losses import IGNORED
from tfcli.models.output import ModelOutput
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.batch import Batch, Example, side_by_side, sizes_of
from tfcli.train.data_spec import DataSource
from tfcli.train.feeds.feed import Source, seed_of
from tfcli.train.measures.measure import Measure
from tfcli.train.spec import TrainSpec

Forward = Callable[..., ModelOutput]
Frozen = Callable[[str | None], Forward]
"""Loads a model that is not trained, in eval mode, where the run computes: a checkpoint by its
name, or with None the start of the training once more."""


@dataclass(frozen=True)
class Material:
    """What examples are made of.

    Args:
        spec: names the data.
        words: the model's tokenizer; None where the objective reads no text.
        companions: the folder of the tokenizer or the processor, which may have a chat template.
        console: hears of what is left out.
        config: of the model, before the objective has changed it.
    """

    spec: TrainSpec
    words: Tokenizer | None
    companions: Path
    console: Console
    config: BaseConfig

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of an objective that reads texts."""
        assert self.words is not None, "objectives that read texts get one"
        return self.words

    def of(self, source: DataSource) -> Material:
        """The same for one of the spec's sources: its keys, and a seed of its own."""
        seed = seed_of(self.spec, source)
        return replace(self, spec=self.spec.of(source).model_copy(update={"seed": seed}))


@dataclass(frozen=True)
class Examples:
    """What is trained on, and what is held out.

    Args:
        train: examples, epoch by epoch.
        validation: always the same ones; None where there are none.
        held: nothing of the data is read any more; else files are read while training.
    """

    train: Source[Example]
    validation: Sequence[Example] | None
    held: bool = True


@dataclass(frozen=True)
class Shown:
    """A row of an example as tokens, for a preview.

    Args:
        ids: of the tokens.
        learned: which of them are learned.
        tokens: how many the model reads: one that is last and predicts nothing is not among them.
    """

    ids: Sequence[int]
    learned: Sequence[bool]
    tokens: int


class Objective(ABC):
    """A loss that adds up over the parts of a step, whatever the parts are.

    Class attributes:
        task: the head that a model gets for it.
        new_head: a checkpoint without that head gets a new one.
        reads_text: it needs a tokenizer.
        unit: what the loss is divided by, in one word.

    Attributes:
        config_keys: keys of config.json that follow from the data, once `feed` has seen them.
    """

    task: ClassVar[str]
    new_head: ClassVar[bool] = False
    reads_text: ClassVar[bool] = True
    unit: ClassVar[str]
    config_keys: Mapping[str, Any] = MappingProxyType({})

    def task_of(self, config: BaseConfig) -> str:
        """The head that a model of a config gets for it."""
        return self.task

    @abstractmethod
    def feed(self, material: Material) -> Examples:
        """The examples that a spec's data becomes.

        Raises:
            UsageError, WorkError: data that it cannot be learned from; the first row is named.
        """

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """What is measured on the validation beside the loss; called after `feed`.

        Args:
            asked: names of metrics; None for the usual ones.
            material: as `feed` has it.

        Raises:
            UsageError: a metric that predictions of this kind do not have, or whose library is not
                installed.
        """
        return None

    def begin(self, frozen: Frozen) -> None:  # noqa: B027 - most need none
        """Get the models that the loss compares with, before the first step.

        Args:
            frozen: loads one.
        """

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of examples, on the CPU."""

    def lengths(self, examples: Sequence[Example]) -> np.ndarray:
        """[n, k] what each example is long: `collate` fills up a batch to the longest in every
        column, and the columns add up."""
        return sizes_of(examples)[:, None]

    def shown(self, example: Example) -> Sequence[Shown]:
        """The rows or windows of an example, for a preview; none where what is learned is
        something else than tokens."""
        return ()

    def widest(self, spec: TrainSpec) -> Example:
        """An example with as many tokens as a spec lets one have; its values mean nothing. What
        memory a step takes is counted with it."""
        ids = torch.zeros(spec.sequence_length, dtype=torch.long)
        labels = torch.zeros((), dtype=torch.long)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

    def widest_batch(self, material: Material) -> Batch:
        """A whole batch of such examples.

        Raises:
            UsageError, WorkError: a processor that cannot be read.
        """
        return self.collate([self.widest(material.spec)] * material.spec.batch_size)

    @abstractmethod
    def count(self, batch: Batch) -> int:
        """What the loss of a batch is divided by: how many targets it has."""

    @abstractmethod
    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of a batch's losses over its targets, in float32. [] With gradients it is what
        training makes smaller, with the part that some families add."""


class TokenObjective(Objective):
    """One with a target for each token, or none (-100), under a name of the batch's.

    Args:
        fill: name -> what rows are filled up with; see `side_by_side`.
        length: what rows are filled up to; None for the longest of a batch.
    """

    unit: ClassVar[str] = "token"
    targets: ClassVar[str] = "labels"
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, fill: dict[str, int], length: int | None = None) -> None:
        self.fill, self.length = {self.targets: IGNORED, **fill}, length

    def widest(self, spec: TrainSpec) -> Example:
        """With a target for each token."""
        example = super().widest(spec)
        return {**example, "labels": torch.zeros_like(example["input_ids"])}

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of examples, filled up at their ends."""
        return side_by_side(examples, self.fill, self.length)

    def count(self, batch: Batch) -> int:
        """Tokens with a target."""
        return int((batch[self.targets] != IGNORED).sum())

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """Cross entropy, summed over the tokens with a target."""
        output = model(**batch, **self.options, num_target_tokens=1)
        assert output.loss is not None, "its head has a loss"
        return with_backbones_part(output.loss, output, self.count(batch))


def shown_next(ids: Tensor, targets: Tensor) -> Shown:
    """A row whose targets are what follows each of its tokens, [s] both. Its last target is none
    of its ids, and not known where it is not learned."""
    learned = [False, *(targets != IGNORED).tolist()]
    tokens = [*ids.tolist(), int(targets[-1])]
    known = [pair for pair in zip(tokens, learned, strict=True) if pair[0] != IGNORED]
    return Shown([id for id, _ in known], [each for _, each in known], len(ids))


def with_backbones_part(summed: Tensor, output: ModelOutput, count: int) -> Tensor:
    """A summed loss with what some backbones add to its mean while training.

    Args:
        summed (Tensor): []
        output: of the forward pass.
        count: what the sum is divided by.
    """
    if output.aux_loss is None or not torch.is_grad_enabled():
        return summed
    return summed + output.aux_loss * count
