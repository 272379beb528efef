"""A tiny config of a family that takes media, and what it is tested with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Inputs = dict[str, Any]


@dataclass(frozen=True)
class MediaCase:
    """One tiny config. It runs through every test of test_media_parity.py that fits its task.

    Args:
        name: shown by pytest.
        task: our head.
        model: name of the transformers class.
        config: name of the transformers config class.
        settings: its arguments.
        inputs: makes the inputs of a forward pass from a generator and a number of rows.
        outputs: fields of the output to compare, under the names of transformers.
        labels: makes labels for these inputs; None where the task has no loss.
        asks: keywords with which both give a loss, where they take no labels.
        cached: a text is continued with a cache; the media go with its beginning.
        hidden_states: whether both record the states of each layer alike.
        tolerance: how far outputs may be apart, relative to the largest.
        attention: the backend of theirs.
    """

    name: str
    task: str
    model: str
    config: str
    settings: dict[str, Any] = field(repr=False)
    inputs: Callable[[torch.Generator, int], Inputs] = field(repr=False)
    outputs: tuple[str, ...] = ("logits",)
    labels: Callable[[torch.Generator, Inputs], torch.Tensor] | None = None
    asks: dict[str, Any] = field(default_factory=dict, repr=False)
    cached: bool = False
    hidden_states: bool = True
    tolerance: float = 1e-5
    attention: str = "sdpa"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Its one head, as `Case` has several."""
        return (self.task,)


def pixels(size: int, channels: int = 3) -> Callable[[torch.Generator, int], Inputs]:
    """Square images of noise."""

    def make(random: torch.Generator, rows: int) -> Inputs:
        shape = (rows, channels, size, size)
        return {"pixel_values": torch.randn(shape, generator=random)}

    return make


def classes(count: int) -> Callable[[torch.Generator, Inputs], torch.Tensor]:
    """A label for each image."""

    def make(random: torch.Generator, inputs: Inputs) -> torch.Tensor:
        return torch.randint(0, count, (len(inputs["pixel_values"]),), generator=random)

    return make


def words(vocabulary: int, shape: tuple[int, int], random: torch.Generator) -> torch.Tensor:
    """Token ids [b, s] that are no special ones."""
    return torch.randint(4, vocabulary, shape, generator=random)


def next_words(random: torch.Generator, inputs: Inputs) -> torch.Tensor:
    """Labels of a language model: the text itself, some of it not to be learned."""
    ids = inputs["input_ids"]
    return ids.masked_fill(torch.rand(ids.shape, generator=random) < 0.3, -100)
