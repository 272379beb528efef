"""What a model is given at once: tensors by name, rows side by side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

Batch = Mapping[str, Tensor]
"""Keyword of the model -> [b, ...]."""

Example = Mapping[str, Tensor]
"""One row of a batch: the same without the first dimension."""


class ExampleList(Sequence[Example]):
    """Examples that are made when they are asked for: what a subclass gives is one of a number."""

    @abstractmethod
    def example(self, number: int) -> Example:
        """The example of a number, 0 to the length - 1."""

    @overload
    def __getitem__(self, number: int) -> Example: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Example]: ...
    def __getitem__(self, number: int | slice) -> Example | Sequence[Example]:
        if isinstance(number, slice):
            return [self.example(each) for each in range(*number.indices(len(self)))]
        return self.example(range(len(self))[number])


class SizedExamples(ExampleList):
    """Such examples whose lengths are known before they are made."""

    @property
    @abstractmethod
    def sizes(self) -> np.ndarray:
        """[n] the length of each example's `input_ids`."""


class Reordered(SizedExamples):
    """Some examples of a list, in an order.

    Args:
        examples: the list.
        order (ndarray): [n] their places in it.
    """

    def __init__(self, examples: Sequence[Example], order: np.ndarray) -> None:
        self.examples, self.order = examples, order

    def __len__(self) -> int:
        return len(self.order)

    def example(self, number: int) -> Example:
        return self.examples[int(self.order[number])]

    @property
    def sizes(self) -> np.ndarray:
        return sizes_of(self.examples)[self.order]


def sizes_of(examples: Sequence[Example]) -> np.ndarray:
    """The length of each example's `input_ids`, [n]."""
    if isinstance(examples, SizedExamples):
        return examples.sizes
    return np.array([len(each["input_ids"]) for each in examples], np.int64)


def side_by_side(
    examples: Sequence[Example], fill: Mapping[str, int], length: int | None = None
) -> dict[str, Tensor]:
    """Rows as one batch; those that are shorter than the longest are filled up at their ends.

    Args:
        examples: alike in names. A tensor of one dimension may have a length of its own.
        fill: name -> what its rows are filled up with; a name that is not here needs one shape.
        length: what rows are filled up to; None for the longest.

    Returns:
        name -> [b, length] or [b, ...]
    """
    batch: dict[str, Tensor] = {}
    for name in examples[0]:
        rows = [example[name] for example in examples]
        if name not in fill:
            batch[name] = torch.stack(rows)
            continue
        width = max(map(len, rows)) if length is None else length
        batch[name] = rows[0].new_full((len(rows), width), fill[name])
        for target, row in zip(batch[name], rows, strict=True):
            target[: len(row)] = row
    return batch


def on_device(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The same batch on a device."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
