"""Values laid over others: flags over `--set` over the recipe over the defaults."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from tfcli.errors import UsageError
from tfcli.recipe.document import parse_scalar


def parse_set(pairs: Iterable[str]) -> dict[str, Any]:
    """`["optimizer.lr=1e-4"]` -> `{"optimizer.lr": 0.0001}`; the value is read as YAML."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"not of the form key=value: {pair!r}",
                where="--set",
                fix="--set optimizer.lr=1e-4",
                code="usage.wrong_value",
            )
        values[key.strip()] = parse_scalar(text)
    return values


def parse_lists(pairs: Iterable[str], flag: str) -> dict[str, list[Any]]:
    """`["bits=2,4"]` -> `{"bits": [2, 4]}`: the values are read as a list of YAML.

    Args:
        flag: that gave them, for messages.
    """
    values: dict[str, list[Any]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip() or not text.strip():
            raise UsageError(
                f"not of the form key=value,value: {pair!r}",
                where=flag,
                fix=f"{flag} steps.train.optimizer.lr=1e-3,3e-4",
                code="usage.wrong_value",
            )
        values[key.strip()] = parse_scalar(f"[{text}]")
    return values


def overlay(values: dict[str, Any], dotted: dict[str, Any]) -> dict[str, Any]:
    """A copy of `values` with each dotted key set.

    Raises:
        UsageError: a key leads through something that is not a mapping.
    """
    merged = copy.deepcopy(values)
    for key, value in dotted.items():
        *path, last = key.split(".")
        place = merged
        for part in path:
            # A section that the recipe leaves out, or sets to null, is made here.
            inner = place.get(part)
            inner = place[part] = {} if inner is None else inner
            if not isinstance(inner, dict):
                raise UsageError(
                    f"{part!r} is a value, not a section",
                    where=f"--set {key}",
                    code="usage.unknown_key",
                )
            place = inner
        place[last] = value
    return merged
