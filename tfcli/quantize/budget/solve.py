"""The least harm within bytes that are given: a knapsack with one choice a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Way:
    """What a group could become.

    Args:
        nbytes: that it takes then.
        harm: that it does.
    """

    nbytes: int
    harm: float


_STEPS = 1 << 16
"""That the bytes beyond the fewest are counted in, rounded up for each group."""


def allocate(groups: Sequence[Mapping[str, Way]], budget: int) -> list[str]:
    """Choose a way for each group, so that their harm together is least.

    A dynamic programme over groups and bytes. It is exact where the budget is up to 65,536 bytes
    above what the smallest ways take; else each group is counted by up to 1/65,536 of that too
    large, and the choice is the best of a budget that is so much smaller.

    Args:
        groups: the ways of each, by name.
        budget: bytes; no less than the smallest ways take together.

    Returns:
        A name for each group.
    """
    fewest = [min(way.nbytes for way in ways.values()) for ways in groups]
    room = budget - sum(fewest)
    unit = max(1, -(-room // _STEPS))
    least = torch.zeros(room // unit + 1, dtype=torch.float64)  # harm, by what may be spent
    choices = []
    for ways, start in zip(groups, fewest, strict=True):
        sums = torch.full((len(ways), len(least)), torch.inf, dtype=torch.float64)
        for row, way in zip(sums, ways.values(), strict=True):
            spent = _spent(way, start, unit)
            if spent < len(least):
                row[spent:] = least[: len(least) - spent] + way.harm
        least, chosen = sums.min(dim=0)
        choices.append(chosen.to(torch.uint8))
    names, left = [], len(least) - 1
    for ways, start, chosen in reversed(list(zip(groups, fewest, choices, strict=True))):
        name, way = list(ways.items())[int(chosen[left])]
        names.append(name)
        left -= _spent(way, start, unit)
    return names[::-1]


def _spent(way: Way, fewest: int, unit: int) -> int:
    return -(-(way.nbytes - fewest) // unit)
