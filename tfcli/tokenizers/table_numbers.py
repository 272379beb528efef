"""Numbers and dates in the cells of a table and in a question about it (Herzig et al. 2020).

A value is a number, or a date as (year, month, day) with None for what is not said. The rules are
those of TAPAS, as its models were trained with what comes of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date

Date = tuple[float | None, ...]
Value = float | Date
Key = Callable[[Value], tuple[float, ...]]

EQUAL, LESS, GREATER = 1, 2, 4
"""How a value of the question is to a cell's; several are added up."""

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
          "eleven", "twelve")  # fmt: skip
_ORDINALS = ("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth",
             "ninth", "tenth", "eleventh", "twelfth")  # fmt: skip
_SUFFIXES = ("st", "nd", "rd", "th")
_NUMBER = re.compile(r"((^|\s)[+-])?((\.\d+)|(\d+(,\d\d\d)*(\.\d*)?))")
_YEARS = range(1700, 2017)
_LONGEST_DATE = 5  # words
_MOSTLY = 0.7
"""So many of a column's cells must have values of one type."""

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
           "october", "november", "december")  # fmt: skip
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)}|{'|'.join(month[:3] for month in _MONTHS)})"
_YEAR = r"(?P<year>\d{4})"
_DAY = r"(?P<day>\d{1,2})"
_NUMBERED = r"(?P<number>\d{1,2})"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?P<month>{'|'.join(_MONTHS)})",
        rf"{_YEAR}s?",
        rf"{_MONTH} {_YEAR}",
        rf"(?:(?:{_DAYS}), )?{_MONTH} {_DAY}",
        rf"{_DAY} {_MONTH}",
        rf"{_MONTH} {_DAY}, {_YEAR}",
        rf"{_DAY} {_MONTH} {_YEAR}",
        rf"{_NUMBERED}-{_DAY}-{_YEAR}",
        rf"{_YEAR}-{_NUMBERED}(?:-{_DAY})?",
        rf"{_DAY}\.{_NUMBERED}\.{_YEAR}",
    )
)


def values_in(text: str) -> list[Value]:
    """The numbers and dates of a text, from left to right. Of one in another the longer counts."""
    text = " ".join(text.lower().split())
    found: dict[tuple[int, int], list[Value]] = {}
    for match in _NUMBER.finditer(text):
        number = _number(match[0])
        if number is not None:
            found[match.span()] = [number]
    for span in _spans(text, 1):
        if span not in found:
            values = _word_values(text[slice(*span)])
            if values:
                found[span] = values
    for span in _spans(text, _LONGEST_DATE):
        day = _date(text[slice(*span)])
        if day is not None:
            found.setdefault(span, []).append(day)
    chosen: list[tuple[int, int]] = []
    for begin, end in sorted(found, key=lambda span: (span[0] - span[1], span[0])):
        if not any(first <= begin and end <= last for first, last in chosen):
            chosen.append((begin, end))
    return [value for span in sorted(chosen) for value in found[span]]


def _spans(text: str, words: int) -> Iterator[tuple[int, int]]:
    """Where runs of so many words at most begin and end."""
    begins: list[int] = []
    for at, char in enumerate(text):
        if not char.isalnum():
            continue
        if at == 0 or not text[at - 1].isalnum():
            begins.append(at)
        if at + 1 == len(text) or not text[at + 1].isalnum():
            yield from ((begin, at + 1) for begin in begins[-words:])


def _number(text: str) -> float | None:
    ending = next((suffix for suffix in _SUFFIXES if text.endswith(suffix)), "")
    try:
        value = float(text.removesuffix(ending).replace(",", ""))
    except ValueError:
        return None
    return None if value != value or value == float("inf") else value


def _word_values(word: str) -> list[Value]:
    values: list[Value] = []
    number = _number(word)
    if number is not None:
        values.append(number)
    values += [float(words.index(word)) for words in (_WORDS, _ORDINALS) if word in words]
    return values


def _date(text: str) -> Date | None:
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is None:
            continue
        said = match.groupdict()
        year, day = (
            None if said.get(name) is None else int(said[name]) for name in ("year", "day")
        )
        month = None if said.get("number") is None else int(said["number"])
        if said.get("month") is not None:
            month = next(at for at, name in enumerate(_MONTHS, 1) if name[:3] == said["month"][:3])
        try:
            whole = date(1900 if year is None else year, month or 1, 1 if day is None else day)
        except ValueError:  # such as the 30th of February
            continue
        if whole.year in _YEARS and month != 0:
            return tuple(None if part is None else float(part) for part in (year, month, day))
    return None


def column_values(cells: Sequence[str]) -> dict[int, Value]:
    """Row -> the value of its cell, where most cells of a column have values of one type.

    A cell that has several has its first one of that type. Where as many have numbers as have
    dates, they are dates.
    """
    values = [values_in(cell) for cell in cells]
    counts = Counter(kind for each in values for kind in {type(value) for value in each})
    most = max(counts.values(), default=0)
    if not most or most < len(cells) * _MOSTLY:
        return {}
    kind = tuple if counts[tuple] == most else float
    first = {
        row: next((value for value in each if isinstance(value, kind)), None)
        for row, each in enumerate(values)
    }
    return {row: value for row, value in first.items() if value is not None}


def sort_key(values: Iterable[Value]) -> Key | None:
    """What values are compared by: numbers themselves, dates by the parts that all of them have.

    Returns:
        None where there is no value, they are of both types, or have no part in common
    """
    given = [value if isinstance(value, tuple) else (value,) for value in values]
    if len({len(each) for each in given}) > 1:
        return None
    shared = [
        at
        for at in range(max(map(len, given), default=0))
        if all(each[at] is not None for each in given)
    ]
    if not shared:
        return None

    def key(value: Value) -> tuple[float, ...]:
        parts = value if isinstance(value, tuple) else (value,)
        return tuple(part for at in shared if (part := parts[at]) is not None)

    return key


def ranks(values: Mapping[int, Value]) -> dict[int, tuple[int, int]]:
    """Row -> the rank of its value from the smallest and from the largest, both counted from 1."""
    key = sort_key(values.values())
    if key is None:
        return {}
    keys = {row: key(value) for row, value in values.items()}
    order = sorted(set(keys.values()))
    place = {value: at for at, value in enumerate(order)}
    return {row: (place[each] + 1, len(order) - place[each]) for row, each in keys.items()}


def relations(asked: Iterable[Value], values: Mapping[int, Value]) -> dict[int, int]:
    """Row -> how the values of a question are to its cell: `EQUAL`, `LESS`, `GREATER` added up."""
    found = dict.fromkeys(values, 0)
    for value in asked:
        key = sort_key([*values.values(), value]) if values else None
        if key is None:
            continue
        own = key(value)
        for row, cell in values.items():
            other = key(cell)
            found[row] |= EQUAL if own == other else LESS if own < other else GREATER
    return found
