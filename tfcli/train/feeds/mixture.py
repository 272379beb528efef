"""Several sources as one, each with its share of the examples."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from tfcli.train.batch import Example, Reordered, SizedExamples, sizes_of
from tfcli.train.feeds.feed import Endless, Source
from tfcli.train.spec import TrainSpec

_LONGEST = 100_000  # examples after which an order of sources begins again


class Turns:
    """Which source an example is from, in an order that repeats.

    After each example every source has had its share up to about one example, as in Webster's way
    to give out seats: the i-th example of a source, from 0, has its turn at (i + 1/2) / share.

    Args:
        weights: of the sources, above 0. Shares are kept exactly where they repeat after 100,000
            examples at most, and to one in 100,000 otherwise.

    Attributes:
        order (ndarray): [n] the source of each example until the order begins again.
        each (ndarray): [sources] how many of these are from each.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.each = np.array(_counts(weights), np.int64)
        at = np.concatenate([(np.arange(each) + 0.5) / each for each in self.each])
        owners = np.repeat(np.arange(len(self.each)), self.each)
        self.order = owners[np.argsort(at, kind="stable")]
        hits = self.order == np.arange(len(self.each))[:, None]
        self._before = np.concatenate([np.zeros((len(hits), 1), np.int64), hits.cumsum(1)], axis=1)

    def before(self, number: int) -> np.ndarray:
        """[sources] how many of the first `number` examples are from each."""
        rounds, rest = divmod(number, len(self.order))
        return rounds * self.each + self._before[:, rest]

    def between(self, first: int, last: int) -> np.ndarray:
        """[last - first] the source of each example from one number up to another."""
        return self.order[np.arange(first, last) % len(self.order)]


def _counts(weights: Sequence[float]) -> list[int]:
    """Whole numbers in the ratio of some weights, or as near to it as `_LONGEST` in all allow."""
    exact = [Fraction(repr(float(weight))) for weight in weights]
    shares = [each / sum(exact) for each in exact]
    together = lcm(*(each.denominator for each in shares))
    if together <= _LONGEST:
        return [int(each * together) for each in shares]
    return [max(1, round(each * _LONGEST)) for each in shares]


@dataclass(frozen=True)
class MixedExamples(SizedExamples):
    """A part of a mixture.

    Args:
        owners (ndarray): [n] the source of each example.
        places (ndarray): [n] its place among those of the source.
        lists: of each source, the lists that follow one another.
        ends: of each source, the places after each list's last example.
    """

    owners: np.ndarray
    places: np.ndarray
    lists: Sequence[Sequence[Sequence[Example]]]
    ends: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.owners)

    def example(self, number: int) -> Example:
        owner, place = int(self.owners[number]), int(self.places[number])
        ends = self.ends[owner]
        which = bisect.bisect_right(ends, place)
        return self.lists[owner][which][place - (ends[which - 1] if which else 0)]

    @property
    def sizes(self) -> np.ndarray:
        sizes = np.zeros(len(self), np.int64)
        for owner, lists in enumerate(self.lists):
            mine = self.owners == owner
            if lists:
                sizes[mine] = np.concatenate([sizes_of(each) for each in lists])[self.places[mine]]
        return sizes


class Mixture(Source[Example]):
    """Several sources as one. A source that comes to its end begins again in another order, and
    goes on where it was when the next part begins.

    Args:
        sources: of which each has its share.
        weights: of the shares, above 0.
        size: examples of a part.
    """

    def __init__(
        self, sources: Sequence[Source[Example]], weights: Sequence[float], size: int
    ) -> None:
        self.turns, self.size = Turns(weights), size
        self._sources = [Endless(each) for each in sources]

    @property
    def whole(self) -> bool:
        return all(each.source.whole for each in self._sources)

    def part(self, number: int) -> MixedExamples:
        """The examples of a part, those of the sources in turn."""
        first, last = number * self.size, (number + 1) * self.size
        owners = self.turns.between(first, last)
        places = np.zeros(self.size, np.int64)
        lists, ends = [], []
        begin, end = self.turns.before(first).tolist(), self.turns.before(last).tolist()
        for owner, source in enumerate(self._sources):
            mine = owners == owner
            places[mine] = np.arange(int(mine.sum()))
            spans = source.spans(begin[owner], end[owner] - begin[owner])
            lists.append([Reordered(part, np.arange(*there)) for part, there in spans])
            ends.append(np.cumsum([len(each) for each in lists[-1]]).tolist())
        return MixedExamples(owners, places, lists, ends)

    def seen(self, number: int) -> float:
        """An epoch has as many examples as all sources together; where they are read as they come,
        the source that was seen least says how often."""
        if self.whole:
            return number
        counts = self.turns.before(number * self.size).tolist()
        pairs = zip(self._sources, counts, strict=True)
        return min(source.seen(count) for source, count in pairs)

    def state(self, number: int) -> Any:
        counts = self.turns.before(number * self.size).tolist()
        return [source.state(each) for source, each in zip(self._sources, counts, strict=True)]

    def resume(self, number: int, state: Any) -> None:
        pairs = zip(self._sources, state, strict=True)
        self._sources = [Endless(source.source, each) for source, each in pairs]


def mixed(spec: TrainSpec, made: Sequence[Source[Example]]) -> Source[Example]:
    """The examples of a spec's sources as one source. An epoch has as many as all have together; of
    streams, which have no such number, a part has as many as the buffer of one has rows."""
    if len(made) == 1:
        return made[0]
    size = spec.stream_buffer if spec.stream else sum(len(each.part(0)) for each in made)
    return Mixture(made, [each.weight for each in spec.sources], size)


def joined(lists: Sequence[Sequence[Example]]) -> Sequence[Example]:
    """Lists of examples as one, one after the other."""
    if len(lists) == 1:
        return lists[0]
    ends = np.cumsum([len(each) for each in lists])
    places = np.arange(ends[-1])
    return MixedExamples(np.zeros_like(places), places, [lists], [ends.tolist()])
