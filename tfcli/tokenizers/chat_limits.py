"""What a chat template may use while it runs: processor time, text, depth.

A template comes with a checkpoint, so it is taken for hostile. Nothing interrupts it from outside:
every loop, call, operator, filter and piece of output comes past a `Meter`, which stops the
template before the step that would take too much.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import Macro
from jinja2.utils import Namespace

CELL = 8
"""What a place in a list counts, in characters."""
ITEM = 64
"""What a new object in a list or a mapping counts, in characters."""
VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
"""What `keys`, `values` and `items` of a mapping give."""

_BUDGET = 8  # all texts and lists made on the way, as a multiple of the largest one
_GIVEN = 32  # and of what was given: copies of the conversation are an honest template's work
_NESTED = 100  # lists within lists
_WORK = 1024  # units of work between two looks at the clock
_STEP = 16  # units of a step, whatever it looks at


class RefusalError(SecurityError):
    """What a template may not do."""


@dataclass(frozen=True)
class Limits:
    """How much one rendering may use.

    Args:
        seconds: processor time of the thread, so that a busy machine refuses nothing.
        characters: of the result, and of any one text or list on the way to it.
        depth: macros, blocks and recursive loops within one another.
    """

    seconds: float = 1.0
    characters: int = 10_000_000
    depth: int = 50


class Meter:
    """Counts what one rendering uses, and knows its date and its marked parts.

    Args:
        limits: what it may use.
        given: characters of the messages, tools and documents.
        now: the date that the template sees.
    """

    def __init__(self, limits: Limits, given: int, now: datetime) -> None:
        self.limits, self.now = limits, now
        self.written = 0  # characters of the result so far
        self.spans: list[tuple[int, int]] | None = []  # None: marked where no place is known
        self.marking = False
        self.depth = 0
        self._left = _BUDGET * limits.characters + _GIVEN * given
        self._work = 0
        self._end = time.thread_time() + limits.seconds

    def tick(self, work: int = 1) -> None:
        """Count a step that looks at some 64 * `work` characters, and keep to the time."""
        self._work += _STEP + work
        if self._work >= _WORK:
            self._work = 0
            if time.thread_time() > self._end:
                raise RefusalError(f"takes longer than {self.limits.seconds:g} s of processor time")

    def fits(self, size: int) -> None:
        """Refuse a text or list of `size` characters that would be too large, before it is made."""
        if size > self.limits.characters:
            raise RefusalError(f"makes a text or list past {self.limits.characters:,} characters")
        if size > self._left:
            raise RefusalError("makes more text and lists on the way than it may")

    def spend(self, size: int) -> None:
        """Count `size` characters of new text."""
        self.fits(size)
        self._left -= size
        self.tick(1 + (size >> 6))

    def weigh(self, value: Any) -> int:
        """The characters of a value written out, every repetition counted.

        Lists that share their parts can be small in memory and endless in writing; comparing,
        sorting and hashing walk them whole too. So they are walked here first, up to the limit.
        """
        total, stack = 0, [iter((value,))]
        while stack:
            for item in stack[-1]:
                total += _own_weight(item)
                if total > self.limits.characters:
                    self.fits(total)
                parts = _parts(item)
                if parts is not None:
                    if len(stack) > _NESTED:
                        raise RefusalError(f"nests values more than {_NESTED} deep")
                    stack.append(iter(parts))
                    break
            else:
                stack.pop()
        self.tick(1 + (total >> 6))
        return total

    def check(self, *values: Any) -> None:
        """Count the values that are about to be compared or hashed: what has parts is weighed."""
        for value in values:
            if isinstance(value, str):
                self.tick(len(value) >> 6)
            elif _parts(value) is not None:
                self.weigh(value)

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """One macro, block or recursive loop within another."""
        if self.depth >= self.limits.depth:
            raise RefusalError(f"calls itself more than {self.limits.depth} deep")
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


class Stream:
    """An iterator that counts its steps.

    It behaves like a generator, which the filters of jinja2 give: true even when empty, no length,
    and read once.
    """

    def __init__(self, meter: Meter, items: Iterable[Any]) -> None:
        self._meter, self._items = meter, iter(items)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._meter.tick()
        return next(self._items)


class LoopItems(Stream):
    """The items of a `for` loop, which has a length when they have one."""

    def __init__(self, meter: Meter, items: Iterable[Any]) -> None:
        super().__init__(meter, items)
        self._whole = items

    def __len__(self) -> int:
        return len(self._whole)  # type: ignore[arg-type]  # a TypeError is the answer


METER: ContextVar[Meter] = ContextVar("chat template")
"""The meter of the rendering under way in this thread."""


def footprint(value: Any) -> int:
    """The characters that a freshly made value counts: not those of the parts of its parts."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(ITEM + (len(one) if isinstance(one, str) else 0) for one in value)
    return ITEM * len(value) if isinstance(value, dict) else 0


def _own_weight(item: Any) -> int:
    if isinstance(item, str):
        return CELL + len(item)
    if isinstance(item, int):
        return CELL + (item.bit_length() >> 2)
    if item is None or isinstance(item, float | list | tuple | dict):
        return CELL
    return 4 * ITEM + (len(str(item.name)) if isinstance(item, Macro) else 0)


def _parts(item: Any) -> Iterable[Any] | None:
    if isinstance(item, list | tuple) or type(item) in VIEWS:
        return item
    if isinstance(item, Namespace):
        item = item._Namespace__attrs  # it hides everything else
    if isinstance(item, dict):
        return chain.from_iterable(item.items())
    return None
