"""How likely tokens were, by the model's own account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

IMPOSSIBLE = -9999.0
"""The log-probability that is told of a token that has none, as JSON has no infinite numbers."""


class Likelihood(NamedTuple):
    """A token's log-probability, and the likeliest tokens of its place with theirs."""

    logprob: float
    likeliest: tuple[tuple[int, float], ...]


def likelihoods(logits: torch.Tensor, picked: torch.Tensor, count: int) -> list[Likelihood]:
    """Of the tokens that were picked, one a row.

    Args:
        logits (Tensor): [b, vocab], as the model gave them.
        picked (Tensor): int64 [b], the ids.
        count: how many of the likeliest to tell.
    """
    known = logits.float().log_softmax(-1).clamp(min=IMPOSSIBLE)
    best = known.topk(min(count, known.shape[-1]))
    chosen = known.gather(-1, picked.to(known.device)[:, None])[:, 0]
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [
        Likelihood(own, tuple(zip(ids, values, strict=True)))
        for own, (ids, values) in zip(chosen.tolist(), rows, strict=True)
    ]


class Account:
    """Is shown the steps of a decoding, and has what is to be told of the last one.

    Args:
        count: how many of the likeliest tokens to tell of.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.last: Sequence[Likelihood] = ()

    def __call__(self, logits: torch.Tensor, picked: torch.Tensor) -> None:
        self.last = likelihoods(logits, picked, self._count)
