"""A text as one stream of tokens, cut into windows.

Documents stand one after another, each with the special tokens that its tokenizer adds. Every
epoch cuts the stream anew at a random place into windows that overlap by one token, so that each
token but the first is predicted exactly once, and shuffles them. The first and the last window of
an epoch are shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tfcli.train.batch import Example, SizedExamples
from tfcli.train.feeds.feed import Source, derive_seed

Stream = Callable[[int], Tensor]
"""Epoch -> the tokens of the whole text, [n] int64."""


@dataclass(frozen=True)
class Windows(SizedExamples):
    """Windows of one stream: `input_ids` and `targets`, the token that follows each, both [s].

    Args:
        stream (Tensor): [n] int64.
        edges (Tensor): [w + 1] the place of each window's first input, and of the last target.
        order (Tensor): [w] which window comes when.
    """

    stream: Tensor
    edges: Tensor
    order: Tensor

    @classmethod
    def cut(cls, stream: Tensor, length: int, offset: int = 0) -> Windows:
        """Cut a stream into windows in its order.

        Args:
            length: tokens that a whole window predicts.
            offset: targets of the window before the first whole one, 0 to length - 1.
        """
        edges = torch.arange(offset, len(stream) - 1, length)
        if offset:
            edges = torch.cat([torch.zeros(1, dtype=torch.int64), edges])
        edges = torch.cat([edges, torch.tensor([len(stream) - 1])])
        return cls(stream, edges, torch.arange(len(edges) - 1))

    def __len__(self) -> int:
        return len(self.order)

    def example(self, number: int) -> Example:
        which = int(self.order[number])
        begin, end = int(self.edges[which]), int(self.edges[which + 1])
        return {"input_ids": self.stream[begin:end], "targets": self.stream[begin + 1 : end + 1]}

    @property
    def sizes(self) -> np.ndarray:
        return self.edges.diff()[self.order].numpy()


@dataclass(frozen=True)
class StreamSource(Source[Example]):
    """Windows of a text, cut and shuffled anew in each epoch.

    Args:
        stream: the tokens of an epoch.
        length: tokens that a whole window predicts.
        seed: of the cuts and the order.
    """

    stream: Stream
    length: int
    seed: int

    def part(self, number: int) -> Windows:
        """The windows of an epoch in its order."""
        return shuffled_windows(self.stream(number), self.length, self.seed, number)


def shuffled_windows(stream: Tensor, length: int, seed: int, number: int) -> Windows:
    """A stream's windows, cut at a place and in an order that follow from a seed and a number."""
    random = torch.Generator().manual_seed(derive_seed(seed, "order", number))
    offset = int(torch.randint(length, (), generator=random))
    whole = Windows.cut(stream, length, offset)
    order = torch.randperm(len(whole), generator=random)
    return Windows(whole.stream, whole.edges, order)
