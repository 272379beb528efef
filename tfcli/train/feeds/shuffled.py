"""Examples that are there once, in a new order each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import torch

from tfcli.train.batch import Example
from tfcli.train.feeds.feed import derive_seed


@dataclass(frozen=True)
class Made(Sequence[Example]):
    """Examples that are made when they are asked for.

    Args:
        make: number -> the example, always the same one.
        order: the numbers, in the order in which the examples come.
    """

    make: Callable[[int], Example]
    order: Sequence[int]

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | Sequence[Example]:
        if isinstance(place, slice):
            return Made(self.make, self.order[place])
        return self.make(self.order[place])


@dataclass(frozen=True)
class Shuffled:
    """A list of examples, shuffled anew in each epoch.

    Args:
        examples: all of them.
        seed: of the order.
        drawn: changes an example by what an epoch draws for it: epoch, number of the example in
            the list, the example -> what is trained on. None leaves it.
    """

    examples: Sequence[Example]
    seed: int
    drawn: Callable[[int, int, Example], Example] | None = None

    def epoch(self, number: int) -> Sequence[Example]:
        """The examples of an epoch in its order."""
        random = torch.Generator().manual_seed(derive_seed(self.seed, "order", number))
        order = torch.randperm(len(self.examples), generator=random).tolist()
        return Made(lambda example: self._make(number, example), order)

    def _make(self, epoch: int, number: int) -> Example:
        example = self.examples[number]
        return example if self.drawn is None else self.drawn(epoch, number, example)
