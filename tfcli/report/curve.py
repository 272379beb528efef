"""The course of a training run, from its metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from tfcli.train.log import METRICS, read_metrics

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """What was logged, as (step, value) in order of steps. Losses are nats a token, where
    targets are tokens."""

    train: Points
    validation: Points
    learning_rate: Points
    gradient_norm: Points
    tokens_per_second: Points


def read_curve(folder: Path) -> Curve | None:
    """The curve of a training run's folder, or None when it logged nothing."""
    rows = read_metrics(folder / METRICS)
    if not rows:
        return None

    def points(key: str) -> Points:
        return tuple((row["step"], row[key]) for row in rows if _is_finite(row.get(key)))

    return Curve(
        points("loss"),
        points("val_loss"),
        points("lr"),
        points("grad_norm"),
        points("tokens_per_second"),
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def smoothed(points: Points, share: float = 0.015) -> Points:
    """The mean around each point: it does not lag behind a falling curve.

    Args:
        share: of all points, how many on each side; fewer near the ends.
    """
    reach = max(1, round(share * len(points)))
    sums = [0.0, *accumulate(value for _, value in points)]
    smooth = []
    for index, (step, _) in enumerate(points):
        side = min(reach, index, len(points) - 1 - index)
        first, last = index - side, index + side + 1
        smooth.append((step, (sums[last] - sums[first]) / (last - first)))
    return tuple(smooth)


def thinned(points: Points, limit: int = 400) -> Points:
    """At most about `limit` points: of each stretch its lowest and highest, so that spikes stay."""
    if len(points) <= limit:
        return points
    size = math.ceil(2 * len(points) / limit)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        ends = {_extreme(stretch, min), _extreme(stretch, max)}
        kept += sorted(ends)
    return tuple(kept)


def _extreme(points: Sequence[tuple[float, float]], pick: Any) -> tuple[float, float]:
    found: tuple[float, float] = pick(points, key=lambda point: point[1])
    return found
