"""Other forms of a source: several examples packed into one, or those of like length together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from tfcli.train.batch import Example, Reordered, SizedExamples, sizes_of
from tfcli.train.feeds.feed import Source, derive_seed
from tfcli.train.feeds.media import packed_media
from tfcli.train.feeds.packing import best_fit

T = TypeVar("T")

_BATCHES = 50  # whose examples are sorted together


@dataclass(frozen=True)
class Packs(SizedExamples):
    """Several examples in one, with `segment_ids` [s], the place of each in it.

    Args:
        examples: all of them.
        bins: the places of those of each pack.
    """

    examples: Sequence[Example]
    bins: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.bins)

    def example(self, number: int) -> Example:
        parts = [self.examples[each] for each in self.bins[number]]
        numbers = [torch.full_like(part["input_ids"], n) for n, part in enumerate(parts)]
        example = {
            **{name: torch.cat([part[name] for part in parts]) for name in parts[0]},
            "segment_ids": torch.cat(numbers),
        }
        return packed_media(example, parts)

    @property
    def sizes(self) -> np.ndarray:
        sizes = sizes_of(self.examples)
        return np.array([sizes[each].sum() for each in self.bins], np.int64)


class Following(Source[T]):
    """A source whose parts are made of those of a source of examples, each of the one with its
    number.

    Args:
        source: the other.
    """

    def __init__(self, source: Source[Example]) -> None:
        self.source = source

    @property
    def whole(self) -> bool:
        return self.source.whole

    def seen(self, number: int) -> float:
        return self.source.seen(number)

    def state(self, number: int) -> object:
        return self.source.state(number)

    def resume(self, number: int, state: object) -> None:
        self.source.resume(number, state)


class PackedSource(Following[Example]):
    """Examples that are packed anew in each part: which of one length go where is drawn.

    Args:
        source: of examples in a drawn order.
        room: tokens of a pack.
        seed: of the packs' order.
    """

    def __init__(self, source: Source[Example], room: int, seed: int) -> None:
        super().__init__(source)
        self.room, self.seed = room, seed

    def part(self, number: int) -> Packs:
        """The packs of a part in its order."""
        examples = self.source.part(number)
        bins = best_fit(sizes_of(examples), self.room)
        random = np.random.default_rng(derive_seed(self.seed, "packs", number))
        return Packs(examples, [bins[each] for each in random.permutation(len(bins))])


class GroupedSource(Following[Example]):
    """Examples in an order in which those of a batch are of like length.

    Args:
        source: of as many examples in each part.
        together: examples of a batch.
        seed: of the batches' order.
    """

    def __init__(self, source: Source[Example], together: int, seed: int) -> None:
        super().__init__(source)
        self.together, self.seed = together, seed

    def part(self, number: int) -> Reordered:
        """The examples of a part in its order."""
        examples = self.source.part(number)
        random = np.random.default_rng(derive_seed(self.seed, "groups", number))
        lead = -number * len(examples) % self.together
        return Reordered(examples, _by_length(sizes_of(examples), self.together, lead, random))


def _by_length(
    sizes: np.ndarray, together: int, lead: int, random: np.random.Generator
) -> np.ndarray:
    """An order whose batches hold examples of like length; which batch comes when stays random.

    Args:
        lead: how many examples complete the last batch of the epoch before.
    """
    parts = np.split(np.arange(len(sizes)), range(lead, len(sizes), together * _BATCHES))
    in_parts = np.concatenate([part[np.argsort(-sizes[part], kind="stable")] for part in parts])
    batches = np.split(in_parts, range(lead, len(sizes), together))
    # The first and the last one are not whole and stay, so that the others begin where a step's do.
    inner = random.permutation(np.arange(1, len(batches) - 1)).tolist()
    return np.concatenate([batches[each] for each in dict.fromkeys([0, *inner, len(batches) - 1])])
