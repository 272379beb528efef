"""Which metrics of a kind are measured."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.metrics.compute import missing, require_libraries
from tfcli.metrics.spec import KINDS, METRICS
from tfcli.train.measures.measure import LOWEST_LOSS, Better, Measure
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.strategy import Strategy


def chosen(
    asked: Sequence[str] | None, kind: str, usual: Sequence[str], console: Console
) -> list[str]:
    """The metrics to measure.

    Args:
        asked: names in a recipe; None where it names none.
        kind: of the predictions.
        usual: what is measured where none is named, as far as its libraries are installed.
        console: hears of those that are not.

    Raises:
        UsageError: a metric of other predictions, or a library that is not installed.
    """
    if asked is None:
        lacking = missing(usual)
        if lacking:
            console.note(
                f"{', '.join(lacking)} of the validation left out: pip install 'tfcli[metrics]'"
            )
        return [name for name in usual if name not in lacking]
    for name in asked:
        if name not in KINDS[kind]:
            raise UsageError(
                f"{name} is no metric of these predictions, which are {kind}",
                where="metrics",
                fix=f"one of {', '.join(KINDS[kind])}",
            )
    require_libraries(asked)
    return list(dict.fromkeys(asked))


def check_measure(spec: TrainSpec, measure: Measure | None, strategy: Strategy) -> None:
    """Refuse what cannot be measured in a run.

    Raises:
        UsageError: texts of a model that is spread or compiled, or a `best_metric` that is not
            measured.
    """
    generates = measure is not None and measure.generates
    if generates and (strategy.lockstep or spec.compile):
        raise UsageError(
            "metrics of texts need a model that makes them by itself, and this one is "
            + ("compiled" if spec.compile else f"spread over processes ({strategy.name})"),
            where="metrics",
            fix="metrics: [], or " + ("leave out compile" if spec.compile else "strategy: ddp"),
        )
    names = () if measure is None else measure.names
    if spec.best_metric is not None and spec.best_metric not in names:
        raise UsageError(
            f"{spec.best_metric} is not measured here",
            where="best_metric",
            fix=f"metrics: [{spec.best_metric}]"
            + (f", or one of {', '.join(names)}" if names else ""),
        )


def better_of(spec: TrainSpec) -> Better:
    """Which of two validations is the better one."""
    name = spec.best_metric
    return LOWEST_LOSS if name is None else Better(name, METRICS[name].higher)
