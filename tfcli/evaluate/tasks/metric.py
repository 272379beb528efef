"""What a metric is, and how the figures of samples become one.

A metric's items are numbers, one a sample, whose mean it is; sums with their weights; or pairs of
what is right and what the model says, of which it is one figure together.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError, hint
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.tasks.figures import TOGETHER
from tfcli.evaluate.uncertainty import drawn_measure, exponential, mean_measure

Clusters = Sequence[Hashable] | None


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        aggregation: what makes one figure of the samples', as the harness names it.
        unit: of the figure.
        higher: whether more of it is better.
        options: keys of its entry in `metric_list` that it takes.
        library: that of `tfcli.metrics` whose library it needs; None: nothing beside tfcli's own.
    """

    aggregation: str
    unit: str
    higher: bool
    options: tuple[str, ...] = ()
    library: str | None = None


def share(*options: str, library: str | None = None) -> Metric:
    """A mean of what is between 0 and 1 for each sample, and better the higher it is."""
    return Metric("mean", "share", True, options, library)


_WITH_OTHERS = ("nanmean",)
"""Aggregations that are the mean where every sample has a number, as here."""
_RATIOS = ("bits_per_byte", "wer", "cer", "weighted_mean")
"""Aggregations that divide sums by summed weights; `weighted_perplexity` is exp of one."""


def asked_metrics(
    entries: Sequence[Mapping[str, Any]] | None,
    table: Mapping[str, Metric],
    usual: Sequence[str],
    output: str,
    where: str,
) -> dict[str, dict[str, Any]]:
    """Metric -> its options, of a task's `metric_list`.

    Args:
        entries: of the task; None takes the usual metrics.
        table: the metrics that such a task has.
        usual: those of a task that names none.
        output: the kind of task, for errors.

    Raises:
        UsageError: a metric, an aggregation or an option that there is not for such a task.
    """
    if entries is None:
        return {name: {} for name in usual}
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name = str(entry.get("metric"))
        if name not in table:
            raise UsageError(
                f"there is no metric {name!r} for output_type {output}",
                where=where,
                fix=hint(name, table),
            )
        metric = table[name]
        wanted = entry.get("aggregation", metric.aggregation)
        same = wanted == metric.aggregation
        if not same and not (metric.aggregation == "mean" and wanted in _WITH_OTHERS):
            raise UsageError(
                f"{name} is aggregated by {metric.aggregation}, not by {wanted!r}", where=where
            )
        if entry.get("higher_is_better", metric.higher) != metric.higher:
            raise UsageError(
                f"{name} is better {'higher' if metric.higher else 'lower'}", where=where
            )
        known = {"metric", "aggregation", "higher_is_better"}
        options = {key: value for key, value in entry.items() if key not in known}
        for key in options:
            if key not in metric.options:
                raise UsageError(
                    f"{name} has no option {key!r}", where=where, fix=hint(key, metric.options)
                )
        found[name] = options
    return found


def libraries_of(names: Sequence[str], table: Mapping[str, Metric]) -> list[str]:
    """The metrics of `tfcli.metrics` whose libraries some metrics need."""
    found = (table[name].library for name in names)
    return list(dict.fromkeys(each for each in found if each is not None))


def measures(metric: Metric, label: str, items: Sequence[Any], clusters: Clusters) -> list[Measure]:
    """What a metric is of all samples.

    Args:
        metric: which.
        label: what the measure is called.
        items: of the samples.
        clusters: which cluster each sample is in.
    """
    how: dict[str, Any] = {
        "unit": metric.unit,
        "higher_is_better": metric.higher,
        "clusters": clusters,
    }
    if metric.aggregation == "mean":
        return [mean_measure(label, items, **how)]
    if metric.aggregation == "perplexity":
        loss = mean_measure(f"{label}_loss", items, **how)
        return [exponential(label, loss, metric.unit)]
    if metric.aggregation in ("weighted_perplexity", *_RATIOS):
        sums, weights = zip(*items, strict=True)
        mean = mean_measure(label, sums, weights=weights, **how)
        is_mean = metric.aggregation in _RATIOS
        return [mean if is_mean else exponential(label, mean, metric.unit)]
    figure = TOGETHER[metric.aggregation]

    def of(indices: Sequence[int]) -> float:
        return figure([items[index] for index in indices])

    return [drawn_measure(label, of, len(items), **how)]


def score_of(metric: Metric, label: str, item: Any) -> tuple[str, float, float] | None:
    """A sample's own part of a mean: the score's name, its value and its weight; None for figures
    that are no means, and for a sample without weight. A perplexity's is the loss that it is made
    of.

    Args:
        metric: which.
        label: what the measure is called, as `name` or `name,filter`.
        item: of the sample.
    """
    name, comma, ending = label.partition(",")
    aggregation = metric.aggregation
    if aggregation == "mean":
        return label, float(item), 1.0
    if aggregation == "perplexity":
        return f"{name}_loss{comma}{ending}", float(item), 1.0
    if aggregation in ("weighted_perplexity", *_RATIOS):
        total, weight = item
        loss = "_loss" if aggregation == "weighted_perplexity" else ""
        return (f"{name}{loss}{comma}{ending}", total / weight, float(weight)) if weight else None
    return None
