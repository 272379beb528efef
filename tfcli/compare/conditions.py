"""Whether two evaluations measured alike: figures compare where all that they depend on agrees."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.compare.side import Side
from tfcli.compare.spec import ConditionDifference
from tfcli.errors import UsageError, hint

OF_MODELS = ("dtype", "backend")
"""What belongs to how a model is run and not to what it is asked: it is what one compares, and is
shown."""


def compare_conditions(a: Side, b: Side, allow: Sequence[str]) -> list[ConditionDifference]:
    """The conditions that differ, and may.

    Args:
        a: one side.
        b: the other.
        allow: names of conditions that may differ beside `OF_MODELS`.

    Raises:
        UsageError: one differs that must not, named with both values; or a name that is none, or
            that does not differ.
    """
    names = dict.fromkeys([*a.conditions, *b.conditions])
    differing = [
        ConditionDifference(name=name, a=a.conditions.get(name), b=b.conditions.get(name))
        for name in names
        if a.conditions.get(name) != b.conditions.get(name)
    ]
    known = dict.fromkeys(_own(name) for name in names)
    for name in allow:
        if name not in known:
            raise UsageError(
                f"there is no condition {name!r}", where="allow", fix=hint(name, known)
            )
        if name not in {_own(each.name) for each in differing}:
            raise UsageError(
                f"{name} does not differ", where="allow", fix="leave it out", code="usage.no_effect"
            )
    refused = [each for each in differing if _own(each.name) not in (*OF_MODELS, *allow)]
    if refused:
        # Another task has other conditions too, which say nothing beside its name.
        refused = [each for each in refused if _own(each.name) == "task"] or refused
        said = "; ".join(f"{each.name} is {_text(each.a)} and {_text(each.b)}" for each in refused)
        raise UsageError(
            f"the figures do not compare: {said}",
            where=f"{a.folder}, {b.folder}",
            fix="measure both alike; or name in allow what may differ",
        )
    return differing


def _own(name: str) -> str:
    """A condition's name without the task that it is of."""
    return name.rpartition("/")[2]


def _text(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 16 else f"{text[:12]}…"
