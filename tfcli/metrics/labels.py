"""Metrics of labels: predictions and references are numbers of labels, or rows of 0 and 1, one for
each label, where several may hold.

Of f1, precision and recall it is the mean over the labels that occur (macro), as scikit-learn has
it; f1_micro counts all labels together, and f1_weighted weighs each by how often it is right.
balanced_accuracy is the mean recall of single labels that are right somewhere. The accuracy of rows
of labels asks for all of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfcli.errors import UsageError


def figures(
    names: Sequence[str], predictions: Sequence[Any], references: Sequence[Any]
) -> Mapping[str, float]:
    """See the module."""
    from sklearn import metrics

    said, right = np.asarray(predictions), np.asarray(references)
    mean: dict[str, Any] = {"average": "macro", "zero_division": 0.0}
    known = {
        "accuracy": lambda: metrics.accuracy_score(right, said),
        "f1": lambda: metrics.f1_score(right, said, **mean),
        "f1_micro": lambda: metrics.f1_score(right, said, **{**mean, "average": "micro"}),
        "f1_weighted": lambda: metrics.f1_score(right, said, **{**mean, "average": "weighted"}),
        "balanced_accuracy": lambda: metrics.recall_score(
            right, said, labels=_single(right), average="macro"
        ),
        "precision": lambda: metrics.precision_score(right, said, **mean),
        "recall": lambda: metrics.recall_score(right, said, **mean),
        "matthews": lambda: metrics.matthews_corrcoef(right, said),
    }
    return {name: float(known[name]()) for name in names}


def _single(right: np.ndarray) -> np.ndarray:
    """The labels that are right somewhere.

    Raises:
        UsageError: a row may have several.
    """
    if right.ndim > 1:
        raise UsageError("balanced_accuracy is of one label a row", where="metrics")
    return np.unique(right)
