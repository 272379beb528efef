"""Texts of different lengths as the rows of one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch

NOTHING = -1
"""Stands where a row has no token: before a text that is shorter than another, or after its end."""


def rows_of(texts: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> torch.Tensor:
    """Texts that end in one column, with `NOTHING` before the shorter ones: int64 [b, s]."""
    longest = max(map(len, texts), default=0)
    rows = [[*[NOTHING] * (longest - len(text)), *text] for text in texts]
    return torch.tensor(rows, dtype=torch.long, device=device).view(len(texts), longest)


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two texts have alike before they differ."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))


def lengths(ids: torch.Tensor) -> torch.Tensor:
    """How many tokens each row has: [b, s] -> [b]."""
    return (ids >= 0).sum(-1)


def filled(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Ids that a model can read, and its attention mask, [b, s] each; None where every place has a
    token."""
    there = ids >= 0
    return (ids, None) if bool(there.all()) else (ids.clamp(min=0), there.long())


def holds_token(ids: torch.Tensor, vocab: int) -> torch.Tensor:
    """Which tokens each row has, those past the vocabulary left out: [b, s] -> bool [b, vocab]."""
    known = (ids >= 0) & (ids < vocab)
    found = torch.zeros(len(ids), vocab + 1, dtype=torch.bool, device=ids.device)
    return found.scatter_(1, torch.where(known, ids, vocab), True)[:, :vocab]
