"""Which examples each step sees: a pure function of the seed and the step.

Epochs follow one another without a gap: a step takes the next examples in their order, and may take
the last ones of an epoch with the first ones of the next.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tfcli.train.batch import Batch, Example


class Source(Protocol):
    """Examples, epoch by epoch."""

    def epoch(self, number: int) -> Sequence[Example]:
        """The examples of an epoch in the order in which it has them; always the same ones."""
        ...


Collate = Callable[[Sequence[Example]], Batch]
"""Makes a batch of examples."""


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits from a run's seed and what it is for; unrelated for unlike parts."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass
class Feed:
    """Splits the endless sequence of examples among steps, processes and forward passes.

    Args:
        source: the examples.
        collate: makes a batch of them.
        batch_size: examples of a forward pass.
        accumulation: forward passes of a step.
        rank: this process.
        processes: how many there are.
        epoch_starts: the number of the first example of each epoch known so far. A resumed run is
            given those of its checkpoint, so that it need not make earlier epochs again.
    """

    source: Source
    collate: Collate
    batch_size: int
    accumulation: int
    rank: int = 0
    processes: int = 1
    epoch_starts: list[int] = field(default_factory=lambda: [0])
    _current: tuple[int, Sequence[Example]] | None = None

    @property
    def examples_per_step(self) -> int:
        """Examples that all processes together take in one step."""
        return self.batch_size * self.accumulation * self.processes

    def step(self, number: int) -> list[Batch]:
        """This process's batches of step `number`, counted from 0, one a forward pass."""
        share = self.batch_size * self.accumulation
        first = number * self.examples_per_step + self.rank * share
        starts = range(first, first + share, self.batch_size)
        return [self.collate(self._examples(start, self.batch_size)) for start in starts]

    def epochs_after(self, steps: int) -> float:
        """How often the data was seen after `steps` steps."""
        number = steps * self.examples_per_step
        epoch, examples = self._epoch_of(max(0, number - 1))
        return epoch + (number - self.epoch_starts[epoch]) / len(examples)

    def _examples(self, first: int, count: int) -> list[Example]:
        """`count` examples from number `first` on."""
        found: list[Example] = []
        while len(found) < count:
            epoch, examples = self._epoch_of(first + len(found))
            start = first + len(found) - self.epoch_starts[epoch]
            stop = min(start + count - len(found), len(examples))
            found += [examples[number] for number in range(start, stop)]
        return found

    def _epoch_of(self, number: int) -> tuple[int, Sequence[Example]]:
        """The epoch that holds example `number`, and its examples."""
        while True:
            epoch = bisect.bisect_right(self.epoch_starts, number) - 1
            examples = self._epoch(epoch)
            end = self.epoch_starts[epoch] + len(examples)
            if number < end:
                return epoch, examples
            if len(self.epoch_starts) == epoch + 1:
                self.epoch_starts.append(end)

    def _epoch(self, number: int) -> Sequence[Example]:
        if self._current is None or self._current[0] != number:
            self._current = number, self.source.epoch(number)
        return self._current[1]
