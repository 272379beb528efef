"""Metrics of pairs: predictions are scores of the answers that should be better, references those
of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def figures(
    names: Sequence[str], predictions: Sequence[float], references: Sequence[float]
) -> Mapping[str, float]:
    """`pair_accuracy`, the share of pairs whose better answer has the greater score."""
    share = float((np.asarray(predictions) > np.asarray(references)).mean())
    return dict.fromkeys(names, share)
