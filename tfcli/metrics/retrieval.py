"""Metrics of search: predictions are vectors of what is looked for, references those of what
belongs to each. All references are candidates; their products with a vector say the order.

`mrr` is the mean of 1 over the right one's rank, `recall_at_k` the share that is among the first k.
Candidates of equal products count before the right one, so that equal vectors gain nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_TOGETHER = 1_024  # vectors that are compared with all candidates at once


def figures(
    names: Sequence[str], predictions: Sequence[Any], references: Sequence[Any]
) -> Mapping[str, float]:
    """See the module."""
    ranks = _ranks(np.asarray(predictions, np.float32), np.asarray(references, np.float32))
    known = {
        "mrr": lambda: (1 / ranks).mean(),
        "recall_at_1": lambda: (ranks <= 1).mean(),
        "recall_at_10": lambda: (ranks <= 10).mean(),
    }
    return {name: float(known[name]()) for name in names}


def _ranks(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The place of each query's own candidate among all, from 1."""
    ranks = []
    for start in range(0, len(queries), _TOGETHER):
        part = queries[start : start + _TOGETHER]
        products = part @ candidates.T
        own = products[np.arange(len(part)), np.arange(start, start + len(part)), None]
        ranks.append((products >= own).sum(1))
    return np.concatenate(ranks)
