"""Examples that are there once, in a new order each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from tfcli.train.batch import Example, ExampleList
from tfcli.train.feeds.feed import Source, derive_seed

T = TypeVar("T")


@dataclass(frozen=True)
class Made(ExampleList):
    """Examples that are made when they are asked for.

    Args:
        make: number -> the example, always the same one.
        order: the numbers, in the order in which the examples come.
    """

    make: Callable[[int], Example]
    order: Sequence[int]

    def __len__(self) -> int:
        return len(self.order)

    def example(self, number: int) -> Example:
        return self.make(self.order[number])


@dataclass(frozen=True)
class Shuffled(Source[Example], Generic[T]):
    """A list of examples, shuffled anew in each epoch.

    Args:
        items: the examples, or what they are made of.
        seed: of the order.
        make: epoch, number of the item in the list, the item -> what is trained on. None takes
            the items themselves.
    """

    items: Sequence[T]
    seed: int
    make: Callable[[int, int, T], Example] | None = None

    def part(self, number: int) -> Made:
        """The examples of an epoch in its order."""
        random = torch.Generator().manual_seed(derive_seed(self.seed, "order", number))
        order = torch.randperm(len(self.items), generator=random).tolist()
        return Made(lambda item: self._example(number, item), order)

    def _example(self, epoch: int, number: int) -> Example:
        item: Any = self.items[number]
        return item if self.make is None else self.make(epoch, number, item)
