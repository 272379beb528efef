"""Figures of one search: which documents are relevant, and in which order a model puts them.

They are those of trec_eval: a document's grade is its gain, and documents without one are not
relevant. `order` is the corpus's numbers, the best first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Grades = Mapping[int, float]
"""Number of a relevant document -> its grade, above 0."""


def precision(order: Sequence[int], grades: Grades, k: int) -> float:
    """The share of the first k that is relevant."""
    return sum(each in grades for each in order[:k]) / k


def recall(order: Sequence[int], grades: Grades, k: int) -> float:
    """The share of the relevant ones that is among the first k."""
    return sum(each in grades for each in order[:k]) / len(grades)


def reciprocal_rank(order: Sequence[int], grades: Grades, k: int) -> float:
    """1 over the place of the first relevant one, 0 where none is among the first k."""
    places = (place for place, each in enumerate(order[:k], 1) if each in grades)
    return 1 / next(places, math.inf)


def ndcg(order: Sequence[int], grades: Grades, k: int) -> float:
    """The gains of the first k, discounted by the logarithm of their places, as a share of the best
    order's."""
    best = _discounted(sorted(grades.values(), reverse=True)[:k])
    return _discounted([grades.get(each, 0.0) for each in order[:k]]) / best


def average_precision(order: Sequence[int], grades: Grades) -> float:
    """The mean over the relevant ones of the precision at the place of each."""
    places = [place for place, each in enumerate(order, 1) if each in grades]
    return sum(number / place for number, place in enumerate(places, 1)) / len(grades)


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


AT_K: dict[str, Callable[[Sequence[int], Grades, int], float]] = {
    "precision_at_k": precision,
    "recall_at_k": recall,
    "mrr_at_k": reciprocal_rank,
    "ndcg_at_k": ndcg,
}
"""Metric -> the figure of a search."""
