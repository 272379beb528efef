"""Which tests a nightly run alone takes: one rule over all that is collected.

A test that goes through families (marker `families`) or through another project's program
(`interop`) is a product: families, their cases, and backends, containers, types or the like. Most
of it says again what its first members have said. Before a change lands, `scripts/test` takes

- of each test each family once: its first case, with one choice of the others in turn;
- of each test each choice at least once: each container, each backend, each task;
- of what compares states with those of transformers (`WHOLE`) every case, as its switches show
  there at once;
- of what traces graphs, starts DeepSpeed or reads released weights (`LONG`), seconds each, the
  first member alone.

The others have the marker `nightly`, and so has what has `faults`. A test without one of these
markers is never among them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest

WHOLE = ("test_forward", "test_outputs")
LONG = ("tests/convert/exports/", "tests/checkpoints/zero/", "tests/released/")


def mark(items: Sequence[pytest.Item]) -> None:
    """Give the marker to those of a run that have it."""
    products: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        if _has(item, "faults"):
            item.add_marker(pytest.mark.nightly)
        elif (
            hasattr(item, "callspec")
            and any(_has(item, marker) for marker in ("families", "interop", "released"))
            and item.originalname not in WHOLE
        ):
            products[item.nodeid.partition("[")[0]].append(item)
    for members in products.values():
        long = members[0].nodeid.startswith(LONG)
        kept = {0} if long else chosen([item.callspec.params for item in members])
        for index, item in enumerate(members):
            if index not in kept:
                item.add_marker(pytest.mark.nightly)


def _has(item: pytest.Item, marker: str) -> bool:
    return item.get_closest_marker(marker) is not None


def chosen(members: Sequence[Mapping[str, Any]]) -> set[int]:
    """The members of a product that are enough, by their numbers.

    Args:
        members: the parameters of each, by name. One whose values are cases or names of families
            is the family; where there is none, the one with the most values takes its place. A
            case stands for the family of its config class.
    """
    values: dict[str, list[str]] = {name: [] for name in members[0]}
    for member in members:
        for name, value in member.items():
            values[name].append(str(value.config) if _is_case(value) else repr(value))

    def likeness(name: str) -> tuple[bool, int]:
        given = [member[name] for member in members]
        of_families = all(_is_case(v) or (isinstance(v, str) and v in _names()) for v in given)
        return of_families, len(set(values[name]))

    main = max(values, key=likeness)
    first: dict[str, Any] = {}
    choices: dict[str, list[int]] = defaultdict(list)
    for index, family in enumerate(values[main]):
        case = members[index][main]
        if first.setdefault(family, case) is case:
            choices[family].append(index)
    kept = {each[turn % len(each)] for turn, each in enumerate(choices.values())}
    for found in values.values():
        seen = {found[index] for index in kept}
        for index, value in enumerate(found):
            if value not in seen:
                kept.add(index)
                seen.add(value)
    return kept


def _is_case(value: Any) -> bool:
    return hasattr(value, "config") and hasattr(value, "settings")


@cache
def _names() -> tuple[str, ...]:
    from tfcli.models.registry import FAMILIES

    return tuple(FAMILIES)
