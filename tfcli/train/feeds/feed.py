"""Which examples each step sees: a pure function of the seed and the step.

The parts of a source follow one another without a gap: a step takes the next examples in their
order, and may take the last ones of an epoch with the first ones of the next.
"""

from __future__ import annotations

import bisect
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tfcli.train.batch import Batch
from tfcli.train.data_spec import DataSource
from tfcli.train.spec import TrainSpec

T = TypeVar("T")


class Source(ABC, Generic[T]):
    """Examples, or whole batches of them, part by part and without an end.

    A part is an epoch where all of the data are at hand, each example once; of data that are read
    as they come it is what is in memory at once.
    """

    @property
    def whole(self) -> bool:
        """Whether a part is an epoch."""
        return True

    @abstractmethod
    def part(self, number: int) -> Sequence[T]:
        """A part, in the order in which it is trained on; always the same one."""

    def seen(self, number: int) -> float:
        """How often the data were seen when a part begins."""
        return number

    def state(self, number: int) -> Any:
        """What is to be known to make a part again without those before it, in plain types."""
        return None

    def resume(self, number: int, state: Any) -> None:
        """Take what `state` gave for a part. None of those before it is asked for then."""


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits from a run's seed and what it is for; unrelated for unlike parts."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_of(spec: TrainSpec, source: DataSource) -> int:
    """The seed of one source's examples: the run's, or one for each of several sources."""
    return derive_seed(spec.seed, source.key) if spec.mixture else spec.seed


class Endless(Generic[T]):
    """The parts of a source one after the other, their items numbered without a gap.

    Args:
        source: of the parts.
        state: what this method gave of a place; items before that place are not asked for then.

    Attributes:
        starts: the number of the first item of each part that is known so far.
    """

    def __init__(self, source: Source[T], state: Mapping[str, Any] | None = None) -> None:
        self.source = source
        self.starts = [0]
        self._first = 0  # the part of the first start
        self._current: tuple[int, Sequence[T]] | None = None
        if state is not None:
            self._first, self.starts = state["part"], [state["start"]]
            source.resume(self._first, state["source"])

    def items(self, first: int, count: int) -> list[T]:
        """`count` items from number `first` on."""
        return [part[n] for part, there in self.spans(first, count) for n in range(*there)]

    def spans(self, first: int, count: int) -> Iterator[tuple[Sequence[T], tuple[int, int]]]:
        """The parts that hold these items, and from which place there up to which."""
        end = first + count
        while first < end:
            which, part = self._holding(first)
            start = first - self._start(which)
            stop = min(start + end - first, len(part))
            yield part, (start, stop)
            first += stop - start

    def seen(self, number: int) -> float:
        """How often the data were seen when `number` items were."""
        if number <= self.starts[0]:
            return self.source.seen(self._first)
        which, part = self._holding(number - 1)
        begin, end = self.source.seen(which), self.source.seen(which + 1)
        return begin + (end - begin) * (number - self._start(which)) / len(part)

    def state(self, number: int) -> dict[str, Any]:
        """What is to be known to go on with item `number`, in plain types."""
        which = self._which(number)
        return {"part": which, "start": self._start(which), "source": self.source.state(which)}

    def _start(self, part: int) -> int:
        return self.starts[part - self._first]

    def _holding(self, number: int) -> tuple[int, Sequence[T]]:
        """The part that holds an item, by its number and itself."""
        which = self._which(number)
        return which, self._part(which)

    def _which(self, number: int) -> int:
        assert number >= self.starts[0], "it is before the place where the run goes on"
        while number >= self.starts[-1]:
            last = self._first + len(self.starts) - 1
            end = self.starts[-1] + len(self._part(last))
            if number < end:
                break
            self.starts.append(end)
        return self._first + bisect.bisect_right(self.starts, number) - 1

    def _part(self, number: int) -> Sequence[T]:
        if self._current is None or self._current[0] != number:
            self._current = number, self.source.part(number)
        return self._current[1]


@dataclass
class Feed(Generic[T]):
    """Splits an endless sequence of items among steps, processes and forward passes.

    Args:
        source: the items: examples, or batches of them.
        collate: makes a batch of some of them.
        batch_size: items of a forward pass.
        accumulation: forward passes of a step.
        rank: this process.
        processes: how many there are.
        resumed: what `state` gave in the run that goes on, so that earlier parts need not be
            made again.

    Attributes:
        part_length: items of the first part.
    """

    source: Source[T]
    collate: Callable[[Sequence[T]], Batch]
    batch_size: int
    accumulation: int
    rank: int = 0
    processes: int = 1
    resumed: Mapping[str, Any] | None = None
    sequence: Endless[T] = field(init=False)
    part_length: int = field(init=False)

    def __post_init__(self) -> None:
        self.part_length = len(self.source.part(0))
        self.sequence = Endless(self.source, self.resumed)

    @property
    def items_per_step(self) -> int:
        """Items that all processes together take in one step."""
        return self.batch_size * self.accumulation * self.processes

    def step(self, number: int) -> list[Batch]:
        """This process's batches of step `number`, counted from 0, one a forward pass."""
        share = self.batch_size * self.accumulation
        first = number * self.items_per_step + self.rank * share
        starts = range(first, first + share, self.batch_size)
        return [self.collate(self.sequence.items(start, self.batch_size)) for start in starts]

    def epochs_after(self, steps: int) -> float:
        """How often the data was seen after `steps` steps."""
        return self.sequence.seen(steps * self.items_per_step)

    def state(self, steps: int) -> dict[str, Any]:
        """What a run is to know that goes on after `steps` steps."""
        return self.sequence.state(steps * self.items_per_step)
