"""Figures of predictions by the names of their metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tfcli.errors import UsageError
from tfcli.metrics.spec import METRICS


def missing(names: Iterable[str]) -> dict[str, str]:
    """The metrics among some whose library is not installed -> the library."""
    needed = {name: METRICS[name].library for name in names}
    return {name: each for name, each in needed.items() if each and find_spec(each) is None}


def require_libraries(names: Iterable[str], where: str = "metrics") -> None:
    """Refuse metrics whose libraries are not installed.

    Raises:
        UsageError: naming them and the extra that has them.
    """
    lacking = missing(names)
    if lacking:
        first, library = next(iter(lacking.items()))
        raise UsageError(
            f"{', '.join(lacking)} need{'s' if len(lacking) == 1 else ''} a package that is not "
            f"installed: {first} is computed by {library}",
            where=where,
            fix="pip install 'tfcli[metrics]'",
        )


def compute(
    names: Sequence[str], predictions: Sequence[Any], references: Sequence[Any]
) -> Mapping[str, float]:
    """Metrics of one kind.

    Args:
        names: of metrics that are computed from the same predictions.
        predictions: one for each example; what they are, the kind's file says.
        references: what is right, one for each.

    Raises:
        UsageError: no such metric, metrics of several kinds, or a library that is not installed.
    """
    kinds = {METRICS[name].kind for name in names if name in METRICS}
    if len(kinds) != 1 or not set(names) <= METRICS.keys():
        raise UsageError(
            f"{', '.join(names)} are not metrics of one kind", fix=f"known: {', '.join(METRICS)}"
        )
    require_libraries(names)
    module = import_module(f"tfcli.metrics.{kinds.pop()}")
    found: Mapping[str, float] = module.figures(names, predictions, references)
    return found
