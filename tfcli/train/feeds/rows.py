"""Rows as examples, one a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tfcli.data.media import Medium
from tfcli.models.losses import IGNORED
from tfcli.train.batch import Example, SizedExamples
from tfcli.train.feeds.feed import Source, derive_seed
from tfcli.train.feeds.media import MediaExample
from tfcli.train.feeds.row_store import RowStore


@dataclass(frozen=True)
class Samples(SizedExamples):
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

    @property
    def looking(self) -> np.ndarray:
        """[n] which of them have media."""
        return self.store.media[self.which] > 0


@dataclass(frozen=True)
class RowSource(Source[Example]):
    """A sample an example, shuffled anew in each epoch.

    Args:
        samples: all of them.
        seed: of the order.
    """

    samples: Samples
    seed: int

    def part(self, number: int) -> Samples:
        """The samples of an epoch in its order."""
        random = np.random.default_rng(derive_seed(self.seed, "order", number))
        return self.samples.taking(random.permutation(len(self.samples)))
