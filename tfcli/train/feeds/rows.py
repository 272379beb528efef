"""Rows as examples: one a row, or several packed into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tfcli.data.media import Medium
from tfcli.models.losses import IGNORED
from tfcli.train.batch import Example, ExampleList
from tfcli.train.feeds.feed import derive_seed
from tfcli.train.feeds.media import MediaExample, packed_media
from tfcli.train.feeds.packing import best_fit
from tfcli.train.feeds.row_store import RowStore

_BATCHES = 50  # whose rows are sorted together, where rows of like length go into one batch


@dataclass(frozen=True)
class Samples(ExampleList):
    """Samples of a store: `input_ids` and `targets`, the token that follows each, both [s]; -100
    where nothing is to be learned.

    Args:
        store: the ids.
        which (ndarray): [n] the numbers of the samples, in their order.
        length: tokens that a sample predicts at most; what is longer loses its end.
        media: number of a row -> its media, and what to call it. None where no row has any.
    """

    store: RowStore
    which: np.ndarray
    length: int
    media: Callable[[int], tuple[Sequence[Medium], str]] | None = None

    def __len__(self) -> int:
        return len(self.which)

    def example(self, number: int) -> Example:
        which = int(self.which[number])
        begin, end = int(self.store.starts[which]), int(self.store.starts[which + 1])
        end = min(end, begin + self.length + 1)
        ids = torch.from_numpy(self.store.ids[begin:end].astype(np.int64))
        learned = torch.from_numpy(self.store.learned[begin + 1 : end].astype(np.bool_))
        example = {"input_ids": ids[:-1], "targets": ids[1:].masked_fill(~learned, IGNORED)}
        count = int(self.store.media[which])
        if not count or self.media is None:
            return example
        media, where = self.media(int(self.store.rows[which]))
        return MediaExample(example, media[:count], where)

    @property
    def sizes(self) -> np.ndarray:
        """[n] the tokens that each predicts or could, learned or not."""
        starts = self.store.starts
        return np.minimum(starts[self.which + 1] - starts[self.which] - 1, self.length)

    def taking(self, which: np.ndarray) -> Samples:
        """Some of these samples, by their places."""
        return replace(self, which=self.which[which])


@dataclass(frozen=True)
class RowSource:
    """A sample an example, shuffled anew in each epoch.

    Args:
        samples: all of them.
        seed: of the order.
        together: examples of a batch, where these are to be of like length; None: of any.
    """

    samples: Samples
    seed: int
    together: int | None = None

    def epoch(self, number: int) -> Samples:
        """The samples of an epoch in its order."""
        random = np.random.default_rng(derive_seed(self.seed, "order", number))
        order = random.permutation(len(self.samples))
        if self.together is not None:
            lead = -number * len(order) % self.together
            order = _by_length(order, self.samples.sizes, self.together, lead, random)
        return self.samples.taking(order)


@dataclass(frozen=True)
class Packs(ExampleList):
    """Several samples an example, with `segment_ids` [s], the place of the sample in the example.

    Args:
        samples: all of them.
        bins: the places of the samples of each example.
    """

    samples: Samples
    bins: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.bins)

    def example(self, number: int) -> Example:
        parts = [self.samples[each] for each in self.bins[number]]
        numbers = [torch.full_like(part["input_ids"], n) for n, part in enumerate(parts)]
        example = {
            **{name: torch.cat([part[name] for part in parts]) for name in parts[0]},
            "segment_ids": torch.cat(numbers),
        }
        return packed_media(example, parts)


@dataclass(frozen=True)
class PackedSource:
    """Samples that are packed anew in each epoch: which of one size go where is drawn.

    Args:
        samples: all of them.
        seed: of the order.
    """

    samples: Samples
    seed: int

    def epoch(self, number: int) -> Packs:
        """The packs of an epoch in its order."""
        random = np.random.default_rng(derive_seed(self.seed, "order", number))
        shuffled = self.samples.taking(random.permutation(len(self.samples)))
        bins = best_fit(shuffled.sizes, self.samples.length)
        return Packs(shuffled, [bins[each] for each in random.permutation(len(bins))])


def _by_length(
    order: np.ndarray, sizes: np.ndarray, together: int, lead: int, random: np.random.Generator
) -> np.ndarray:
    """An order whose batches hold samples of like length; which batch comes when stays random.

    Args:
        lead: how many samples complete the last batch of the epoch before.
    """
    parts = np.split(order, range(lead, len(order), together * _BATCHES))
    in_parts = np.concatenate([part[np.argsort(-sizes[part], kind="stable")] for part in parts])
    batches = np.split(in_parts, range(lead, len(order), together))
    # The first and the last one are not whole and stay, so that the others begin where a step's do.
    inner = random.permutation(np.arange(1, len(batches) - 1)).tolist()
    return np.concatenate([batches[each] for each in dict.fromkeys([0, *inner, len(batches) - 1])])
