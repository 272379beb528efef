"""Figures of all samples together, which are no means: each from pairs of what is right and what
the model says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any


def labels(metric: str) -> Callable[[Sequence[Any]], float]:
    """One of `tfcli.metrics`, of pairs (right, said)."""

    def figure(items: Sequence[Any]) -> float:
        from tfcli.metrics.compute import compute

        right, said = zip(*items, strict=True)
        return float(compute([metric], said, right)[metric])

    return figure


def binary_f1(items: Sequence[Any]) -> float:
    """The F1 of the second of two labels, from pairs of their numbers."""
    from sklearn import metrics

    right, said = zip(*items, strict=True)
    return float(metrics.f1_score(right, said, zero_division=0.0))


def brier(items: Sequence[Any]) -> float:
    """The mean squared distance of the choices' probabilities from what is right."""
    total = 0.0
    for right, shares in items:
        total += sum((share - (index == right)) ** 2 for index, share in enumerate(shares))
    return total / len(items)


def calibration_error(items: Sequence[Any], bins: int = 10) -> float:
    """How far the probability of the likeliest choice is from how often it is right.

    The expected calibration error of Guo et al. (2017), over bins of equal width.
    """
    held: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for right, shares in items:
        best = max(range(len(shares)), key=lambda index: shares[index])
        held[min(bins - 1, math.floor(shares[best] * bins))].append((shares[best], best == right))
    gaps = (abs(sum(s for s, _ in each) - sum(r for _, r in each)) for each in held)
    return sum(gaps) / len(items)


def roc_auc(items: Sequence[Any]) -> float:
    """The area under the curve of true over false positives, from pairs (whether it is one, the
    probability that it is); not a number where all samples are of one kind."""
    from sklearn import metrics

    right, shares = zip(*items, strict=True)
    if len(set(right)) < 2:
        return math.nan
    return float(metrics.roc_auc_score(right, shares))


def entities(figure: str) -> Callable[[Sequence[Any]], float]:
    """The precision, recall or F1 of entities, from counts of each sample: those that are right,
    those that the model found and those that there are. 0 where nothing can be counted, as
    seqeval has it."""

    def of(items: Sequence[Any]) -> float:
        right, said, wanted = (sum(each) for each in zip(*items, strict=True))
        below = {"precision": said, "recall": wanted, "f1": (said + wanted) / 2}[figure]
        return right / below if below else 0.0

    return of


TOGETHER: dict[str, Callable[[Sequence[Any]], float]] = {
    "f1": binary_f1,
    "matthews_corrcoef": labels("matthews"),
    "brier_score": brier,
    "ece": calibration_error,
    "bleu": labels("bleu"),
    "chrf": labels("chrf"),
    "balanced_accuracy": labels("balanced_accuracy"),
    "f1_macro": labels("f1"),
    "f1_micro": labels("f1_micro"),
    "f1_weighted": labels("f1_weighted"),
    "precision_macro": labels("precision"),
    "recall_macro": labels("recall"),
    "roc_auc": roc_auc,
    "pearson": labels("pearson"),
    "spearman": labels("spearman"),
    "r2": labels("r2"),
    "entity_precision": entities("precision"),
    "entity_recall": entities("recall"),
    "entity_f1": entities("f1"),
}
"""Aggregation -> the figure of all items together."""
