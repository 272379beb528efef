"""The metrics that a task's file may name, and how the figures of samples become one.

A metric's items are numbers, one a sample, whose mean it is; sums with their weights; or pairs of
what is right and what the model says, of which it is one figure together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError, hint
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.uncertainty import drawn_measure, exponential, mean_measure

Clusters = Sequence[Hashable] | None


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        outputs: the kinds of tasks that have it.
        aggregation: what makes one figure of the samples', as the harness names it.
        unit: of the figure.
        higher: whether more of it is better.
        options: keys of its entry in `metric_list` that it takes.
    """

    outputs: tuple[str, ...]
    aggregation: str
    unit: str
    higher: bool
    options: tuple[str, ...] = ()


_CHOICE, _TEXT, _MADE = ("multiple_choice",), ("loglikelihood_rolling",), ("generate_until",)
_BOTH = ("loglikelihood", "multiple_choice")


def _share(*outputs: str, options: tuple[str, ...] = ()) -> Metric:
    """A mean of what is between 0 and 1 for each sample, and better the higher it is."""
    return Metric(outputs, "mean", "share", True, options)


METRICS: dict[str, Metric] = {
    "acc": _share(*_BOTH),
    "acc_norm": _share(*_CHOICE),
    "acc_bytes": _share(*_CHOICE),
    "acc_mutual_info": _share(*_CHOICE),
    "f1": Metric(_CHOICE, "f1", "share", True),
    "mcc": Metric(_CHOICE, "matthews_corrcoef", "", True),
    "brier_score": Metric(_CHOICE, "brier_score", "", False),
    "ece": Metric(_CHOICE, "ece", "share", False),
    "perplexity": Metric(("loglikelihood",), "perplexity", "", False),
    "word_perplexity": Metric(_TEXT, "weighted_perplexity", "a word", False),
    "byte_perplexity": Metric(_TEXT, "weighted_perplexity", "a byte", False),
    "bits_per_byte": Metric(_TEXT, "bits_per_byte", "bits/byte", False),
    "exact_match": _share(
        *_MADE,
        *_CHOICE,
        options=("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore"),
    ),
    "answer_f1": _share(*_MADE),
    **{name: _share(*_MADE) for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")},
    "bleu": Metric(_MADE, "bleu", "0 to 100", True),
    "chrf": Metric(_MADE, "chrf", "0 to 100", True),
    "wer": Metric(_MADE, "wer", "errors/word", False),
    "pass_at_k": _share(*_MADE, options=("k", "seconds", "memory")),
}
"""Name -> what it is."""
DEFAULTS = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
"""The metrics of a task that names none."""
LIBRARIES = {
    **dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), "rouge1"),
    "bleu": "bleu",
    "chrf": "chrf",
    "wer": "wer",
    "f1": "f1",
    "mcc": "matthews",
}
"""Metric -> that of `tfcli.metrics` whose library it needs."""
_WITH_OTHERS = ("nanmean",)
"""Aggregations that are the mean where every sample has a number, as here."""


def asked_metrics(
    entries: Sequence[Mapping[str, Any]] | None, output: str, where: str
) -> dict[str, dict[str, Any]]:
    """Metric -> its options, of a task's `metric_list`.

    Raises:
        UsageError: a metric, an aggregation or an option that there is not for such a task.
    """
    if entries is None:
        return {name: {} for name in DEFAULTS[output]}
    fitting = [name for name, metric in METRICS.items() if output in metric.outputs]
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name = entry.get("metric")
        if name not in fitting:
            raise UsageError(
                f"there is no metric {name!r} for output_type {output}",
                where=where,
                fix=hint(str(name), fitting),
            )
        metric = METRICS[name]
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


def measures(name: str, label: str, items: Sequence[Any], clusters: Clusters) -> list[Measure]:
    """What a metric is of all samples.

    Args:
        name: of the metric.
        label: what the measure is called.
        items: of the samples.
        clusters: which cluster each sample is in.
    """
    metric = METRICS[name]
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
    if metric.aggregation in ("weighted_perplexity", "bits_per_byte"):
        sums, weights = zip(*items, strict=True)
        mean = mean_measure(label, sums, weights=weights, **how)
        is_mean = metric.aggregation == "bits_per_byte"
        return [mean if is_mean else exponential(label, mean, metric.unit)]
    figure = TOGETHER[metric.aggregation]

    def of(indices: Sequence[int]) -> float:
        return figure([items[index] for index in indices])

    return [drawn_measure(label, of, len(items), **how)]


def score_of(name: str, item: Any) -> tuple[str, float, float] | None:
    """A sample's own part of a mean: the score's name, its value and its weight; None for figures
    that are no means. A perplexity's is the loss that it is made of."""
    aggregation = METRICS[name].aggregation
    if aggregation == "mean":
        return name, float(item), 1.0
    if aggregation == "perplexity":
        return f"{name}_loss", float(item), 1.0
    if aggregation in ("weighted_perplexity", "bits_per_byte"):
        total, weight = item
        ending = "" if aggregation == "bits_per_byte" else "_loss"
        return f"{name}{ending}", total / weight, float(weight)
    return None


def _labels(metric: str) -> Callable[[Sequence[Any]], float]:
    def figure(items: Sequence[Any]) -> float:
        from sklearn import metrics

        right, said = zip(*items, strict=True)
        if metric == "f1":
            return float(metrics.f1_score(right, said))
        return float(metrics.matthews_corrcoef(right, said))

    return figure


def _texts(metric: str) -> Callable[[Sequence[Any]], float]:
    def figure(items: Sequence[Any]) -> float:
        from tfcli.metrics.texts import figures

        right, said = zip(*items, strict=True)
        return figures([metric], list(said), list(right))[metric]

    return figure


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


TOGETHER: dict[str, Callable[[Sequence[Any]], float]] = {
    "f1": _labels("f1"),
    "matthews_corrcoef": _labels("matthews"),
    "brier_score": brier,
    "ece": calibration_error,
    "bleu": _texts("bleu"),
    "chrf": _texts("chrf"),
    "wer": _texts("wer"),
}
"""Aggregation -> the figure of all items together."""
