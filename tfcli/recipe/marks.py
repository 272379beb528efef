"""What stands beside a field's type in a spec: when the key has an effect, and how it is spelt.

    samples: Annotated[int, Only(method=("gptq",))] = Field(128, description="...")
    sequence_length: Annotated[int, Also("window")] = Field(256, description="...")

`Section` checks these for every key that is given; help, the JSON Schema and the reference page
print them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Above:
    """Any number above this one."""

    number: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and value > self.number


class Given:
    """Any value at all, as long as there is one."""

    def __contains__(self, value: object) -> bool:
        return value is not None


GIVEN = Given()


class Only:
    """A key that has an effect only beside certain values of other keys of its section.

    Giving it beside others is an error, also where it is given its default. `null` counts as not
    given where it is the default.

    Args:
        off: a value that asks for nothing, and so may stand anywhere; None where there is none.
        either: other keys of which one must have a value, beside all conditions.
        conditions: another key -> the values, `Above(number)` or `GIVEN`. All must hold.
    """

    def __init__(
        self,
        *,
        off: object = None,
        either: tuple[str, ...] = (),
        **conditions: tuple[Any, ...] | Above | Given,
    ) -> None:
        self.off, self.either, self.conditions = off, either, conditions

    @property
    def keys(self) -> set[str]:
        """The other keys that are looked at."""
        return {*self.conditions, *self.either}

    @property
    def is_instead(self) -> bool:
        """Whether it says no more than that another key stands in this one's place."""
        return not self.either and all(each == (None,) for each in self.conditions.values())

    def unmet(self, values: Mapping[str, Any]) -> str | None:
        """The first of the other keys that keeps this one from having an effect, or None."""
        for key, wanted in self.conditions.items():
            if values.get(key) not in wanted:
                return key
        if self.either and all(values.get(key) is None for key in self.either):
            return self.either[0]
        return None

    def as_keys(self) -> str:
        """`method: gptq`, for recipes and messages."""
        parts = [_key_form(key, wanted) for key, wanted in self.conditions.items()]
        return " and ".join([*parts, " or ".join(self.either)] if self.either else parts)

    def as_flags(self, section: str = "") -> str:
        """`--method gptq`, for help texts; `--schedule.name linear` for a key of `schedule`."""
        start = f"{section}." if section else ""
        parts = [_flag_form(start + key, wanted) for key, wanted in self.conditions.items()]
        either = " or ".join(_flag_form(start + key, GIVEN) for key in self.either)
        return " and ".join([*parts, either] if either else parts)


@dataclass(frozen=True, init=False)
class Also:
    """Other names of a key, as recipe keys and as flags."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


@dataclass(frozen=True)
class Spellings:
    """Other spellings of a key's values; the spec holds the one that they stand for."""

    of: Mapping[str, str]

    def __hash__(self) -> int:
        return hash(tuple(self.of.items()))


@dataclass(frozen=True)
class Placeholder:
    """What help shows for a key's value, where its type does not say: `auto|cpu|cuda[:N]`."""

    text: str


M = TypeVar("M", Only, Also, Spellings, Placeholder)


def mark_of(field: FieldInfo, kind: type[M]) -> M | None:
    """A field's mark of one kind, or None."""
    return next((item for item in field.metadata if isinstance(item, kind)), None)


def marks(fields: Mapping[str, FieldInfo], kind: type[M]) -> Iterator[tuple[str, M]]:
    """The fields that have a mark of one kind, with it."""
    for name, field in fields.items():
        mark = mark_of(field, kind)
        if mark is not None:
            yield name, mark


def _key_form(key: str, wanted: tuple[Any, ...] | Above | Given) -> str:
    if isinstance(wanted, Above):
        return f"{key} above {wanted.number:g}"
    if isinstance(wanted, Given):
        return key
    if wanted == (None,):
        return f"no {key}"
    return f"{key}: {_choice(wanted)}"


def _flag_form(key: str, wanted: tuple[Any, ...] | Above | Given) -> str:
    flag = "--" + key.replace("_", "-")
    if wanted == (None,):
        return f"no {flag}"
    if isinstance(wanted, Above):
        return f"{flag} above {wanted.number:g}"
    if isinstance(wanted, Given) or wanted == (True,):
        return flag
    return f"{flag} {_choice(wanted)}"


def _choice(values: tuple[Any, ...]) -> str:
    *others, last = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
    return f"{', '.join(others)} or {last}" if others else last
