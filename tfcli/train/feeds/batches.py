"""From a source to the batches of each step, by number or by tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfcli.train.batch import Example
from tfcli.train.feeds.feed import Feed, Source
from tfcli.train.feeds.token_batches import TokenBatches, within
from tfcli.train.objectives.objective import Examples, Objective
from tfcli.train.spec import TrainSpec


def make_feed(
    spec: TrainSpec,
    objective: Objective,
    source: Source[Example],
    passes: int,
    share: int,
    shares: int,
    resumed: Mapping[str, Any] | None = None,
) -> Feed[Any]:
    """What gives each step its batches.

    Args:
        source: of the examples.
        passes: forward passes of a step in each process.
        share: which of the data this process sees.
        shares: how many there are.
        resumed: see `Feed`.

    Raises:
        UsageError: an example that is longer than a budget of tokens.
    """
    rest = (passes, share, shares, resumed)
    if spec.batch_tokens is None:
        return Feed(source, objective.collate, spec.batch_size, *rest)
    batches = TokenBatches(source, spec.batch_tokens, objective.lengths, spec.seed)
    return Feed(batches, lambda one: objective.collate(one[0]), 1, *rest)


def check_budget(spec: TrainSpec, objective: Objective, examples: Examples) -> None:
    """Refuse a budget of tokens that an example does not fit into.

    Raises:
        UsageError: naming both numbers.
    """
    if spec.batch_tokens is not None:
        for each in (examples.train.part(0), examples.validation or ()):
            within(objective.lengths(each), spec.batch_tokens)


def validation_batches(
    spec: TrainSpec, objective: Objective, examples: Sequence[Example]
) -> list[Sequence[int]]:
    """The places of the examples of each forward pass of a validation."""
    if spec.batch_tokens is not None:
        return list(within(objective.lengths(examples), spec.batch_tokens))
    starts = range(0, len(examples), spec.batch_size)
    return [range(len(examples))[start : start + spec.batch_size] for start in starts]
