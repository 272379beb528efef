"""Batches of as many examples as a number of tokens allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np

from tfcli.errors import UsageError
from tfcli.train.batch import Example
from tfcli.train.feeds.feed import Source, derive_seed
from tfcli.train.feeds.grouping import Following

_BATCHES = 50  # whose examples are sorted together

Lengths = Callable[[Sequence[Example]], np.ndarray]
"""Examples -> [n, k] what each is long; a batch is filled up to the longest in every column."""


class Batches(Sequence[list[Example]]):
    """Batches of a list of examples, each made when it is asked for.

    Args:
        examples: the list.
        groups: the places of those of each batch.
    """

    def __init__(self, examples: Sequence[Example], groups: Sequence[Sequence[int]]) -> None:
        self.examples, self.groups = examples, groups

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, number: int) -> list[Example]: ...
    @overload
    def __getitem__(self, number: slice) -> Batches: ...
    def __getitem__(self, number: int | slice) -> list[Example] | Batches:
        if isinstance(number, slice):
            return Batches(self.examples, self.groups[number])
        return [self.examples[each] for each in self.groups[number]]


class TokenBatches(Following[list[Example]]):
    """The examples of a source in batches of like length, which a budget of tokens limits.

    Each part becomes batches of its own, whatever the number of processes. Which batch comes when
    is drawn.

    Args:
        source: of examples in a drawn order.
        budget: tokens of a batch, with those that it is filled up with.
        lengths: of examples.
        seed: of the batches' order.
    """

    def __init__(self, source: Source[Example], budget: int, lengths: Lengths, seed: int) -> None:
        super().__init__(source)
        self.budget, self.lengths, self.seed = budget, lengths, seed

    def part(self, number: int) -> Batches:
        """The batches of a part in their order.

        Raises:
            UsageError: an example that is longer than the budget.
        """
        examples = self.source.part(number)
        groups = within(self.lengths(examples), self.budget)
        random = np.random.default_rng(derive_seed(self.seed, "batches", number))
        return Batches(examples, [groups[each] for each in random.permutation(len(groups))])


def within(lengths: np.ndarray, budget: int) -> list[list[int]]:
    """Examples in groups of like length, within a budget.

    Args:
        lengths (ndarray): [n, k] see `Lengths`.
        budget: the most tokens of a group: how many it has, times the longest in each column.

    Returns:
        the places of each group's examples

    Raises:
        UsageError: an example that is longer than the budget.
    """
    totals = lengths.sum(1)
    if len(totals) and totals.max() > budget:
        raise UsageError(
            f"an example has {int(totals.max()):,} tokens, more than a batch of {budget:,}",
            where="batch_tokens",
            fix="a larger batch_tokens, or a smaller sequence_length",
        )
    chunks = totals.cumsum() // (_BATCHES * budget)
    groups: list[list[int]] = []
    for places in np.split(np.arange(len(totals)), np.flatnonzero(np.diff(chunks)) + 1):
        longest = np.zeros(lengths.shape[1], np.int64)
        group: list[int] = []
        order = np.lexsort((-lengths[places, 0], -totals[places]))
        for place in places[order].tolist():
            together = np.maximum(longest, lengths[place])
            if group and (len(group) + 1) * int(together.sum()) > budget:
                groups.append(group)
                group, together = [], lengths[place]
            group.append(place)
            longest = together
        if group:
            groups.append(group)
    return groups
