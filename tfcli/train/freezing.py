"""Training a part of a model: `freeze` and `train_only`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tfcli.errors import UsageError
from tfcli.models.errors import hint

if TYPE_CHECKING:
    from tfcli.models.model import Model
    from tfcli.train.spec import TrainSpec


def freeze(model: Model, spec: TrainSpec) -> None:
    """Leave parameters as they are: those that `train_only` does not name, and that `freeze` does.

    A pattern is a regular expression that has a match in a parameter's name; a weight that two
    names share counts under both.

    Raises:
        UsageError: a pattern that matches nothing, or nothing is left to train.
    """
    named = list(model.named_parameters(remove_duplicate=False))
    names = [name for name, _ in named]
    chosen = _matched(spec.train_only, names, "train_only") if spec.train_only else set(names)
    frozen = _matched(spec.freeze, names, "freeze")
    trained = {id(p) for name, p in named if name in chosen}
    trained -= {id(p) for name, p in named if name in frozen}
    if not trained:
        raise UsageError(
            "no parameter is left to train",
            where="freeze" if spec.freeze else "train_only",
            fix="freeze fewer",
        )
    for _, parameter in named:
        parameter.requires_grad_(id(parameter) in trained)


def _matched(patterns: list[str], names: list[str], key: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        mine = {name for name in names if re.search(pattern, name)}
        if not mine:
            parts = dict.fromkeys(part for name in names for part in name.split("."))
            words = [part for part in parts if not part.isdecimal()]
            raise UsageError(
                f"no parameter's name matches {pattern!r}", where=key, fix=hint(pattern, words)
            )
        found |= mine
    return found
