"""Limits on what a config may say; `tfcli/limits.py` has those on everything else."""

from __future__ import annotations

from typing import Self


class Limit(int):
    """A number that says of what it is.

    Attributes:
        unit: what is counted.
        what: what may not have more.
    """

    unit: str
    what: str

    def __new__(cls, value: int, unit: str, what: str) -> Self:
        made = super().__new__(cls, value)
        made.unit, made.what = unit, what
        return made

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)  # a copy, such as that of a config's default, is a number


LIMIT = Limit(2**31, "", "a size in a config")
MAX_LAYERS = Limit(1_000, "layers", "a config")
MAX_EXPERTS = Limit(50_000, "experts", "all layers of a config together")
MAX_LABELS = Limit(1 << 18, "labels", "a config")
MAX_CONFIG_TEXT = Limit(1 << 16, "characters", "a text or a name in a config")
MAX_CONFIG_DEPTH = Limit(32, "levels", "lists and objects in a config")
MAX_POWER = Limit(30, "zeros", "a number with fractions in a config")
MAX_VALUES_OVER = Limit(1_000_000, "values", "a model, beside twice the values of its files")
