"""The figures of a result, by dotted names, and which of them a sweep goes by."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from tfcli.errors import UsageError, WorkError, nearest
from tfcli.recipe.recipe import Recipe
from tfcli.recipe.verbs import VERBS

UNKNOWN = "*"
"""Stands for names that only a result tells, such as those of metrics."""


def require_figure(name: str, recipe: Recipe, where: str) -> None:
    """Refuse a figure that no result of the recipe's steps can have, before the work.

    Args:
        name: a step and a number of its result, such as `loss.perplexity`.
        where: the key that names it.

    Raises:
        UsageError: no such step, or no such number; with the nearest.
    """
    known = [
        f"{step.name}.{key}"
        for step in recipe.steps
        for key in numbers_of_class(VERBS[step.spec.verb].result())
    ]
    if not any(_fits(name, each) for each in known):
        raise UsageError(
            f"no step has a figure {name!r}",
            where=where,
            fix=_way_out(name, [each for each in known if UNKNOWN not in each]),
            code="usage.wrong_value",
        )


def _way_out(name: str, known: Sequence[str]) -> str:
    """The nearest figure, of the step that is named where there is such a step."""
    of_step = [each for each in known if each.startswith(f"{name.partition('.')[0]}.")]
    guess = nearest(name, of_step or known)
    said = f"did you mean {guess!r}? " if guess else ""
    return f"{said}name a step and a number of its result, which docs/json.md lists"


def figure(name: str, results: Mapping[str, Mapping[str, Any]]) -> float:
    """A figure of finished steps.

    Args:
        name: see `require_figure`.
        results: step -> its result.

    Raises:
        WorkError: it is not there, or not a number.
    """
    known = {
        f"{step}.{key}": value for step, each in results.items() for key, value in numbers_in(each)
    }
    if name not in known:
        raise WorkError(f"the results have no figure {name!r}", fix=_way_out(name, list(known)))
    if math.isnan(known[name]):
        raise WorkError(f"{name} is no number (NaN)")
    return known[name]


def numbers_in(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a result with its dotted name; an item of a list goes by its `name`."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield name, float(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from numbers_in(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            if isinstance(inner, Mapping) and isinstance(inner.get("name"), str):
                yield from numbers_in(inner, f"{name}.{inner['name']}")


def numbers_of_class(cls: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The names that `numbers_in` may give of results of a class."""
    for key, field in cls.model_fields.items():
        yield from _names(field.annotation, f"{prefix}{key}")


def _names(annotation: Any, name: str) -> Iterator[str]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        yield from dict.fromkeys(each for part in parts for each in _names(part, name))
    elif origin is Annotated:
        yield from _names(parts[0], name)
    elif origin is dict:
        yield from _names(parts[1], f"{name}.{UNKNOWN}")
    elif origin is list:
        if isinstance(parts[0], type) and issubclass(parts[0], BaseModel):
            yield from _names(parts[0], f"{name}.{UNKNOWN}")
    elif annotation in (int, float):
        yield name
    elif annotation is Any:
        yield f"{name}.{UNKNOWN}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from numbers_of_class(annotation, f"{name}.")


def _fits(name: str, known: str) -> bool:
    """Whether a name may be one of those that `known` stands for; what `*` stands for may have
    dots in it."""
    head, *rest = known.split(UNKNOWN)
    if not rest:
        return name == known
    return name.startswith(head) and name.endswith(rest[-1]) and len(name) > len(head + rest[-1])
