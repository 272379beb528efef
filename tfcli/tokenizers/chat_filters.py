"""The filters and tests that a chat template may use, each within the limits.

Left out of jinja2's own are those that no conversation needs and whose time or result cannot be
foreseen: pprint, random, striptags, urlencode, urlize, wordwrap, xmlattr.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2 import filters as jinja
from jinja2.environment import Environment
from jinja2.runtime import Context
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import pass_context

from tfcli.tokenizers.chat_limits import (
    CELL,
    ITEM,
    METER,
    LoopItems,
    RefusalError,
    Stream,
    footprint,
)
from tfcli.tokenizers.chat_values import (
    FEW,
    MAX_NUMBER,
    apply,
    few,
    joined,
    lines,
    number,
    replaced,
    text,
    whole,
)

_LONG = 1_000_000  # characters that are split into words
_PLACES = 300  # to round to: more than a float has
_INDENT = 32  # places of JSON


# Those that are written here, because jinja2's own cannot be bounded from outside.


def _join(env: Environment, value: Any, d: Any = "", attribute: Any = None) -> str:
    items: Iterable[Any] = Stream(METER.get(), value)
    if attribute is not None:
        items = map(jinja.make_attrgetter(env, attribute), items)
    parts, glue = [str(text(item)) for item in items], str(text(d))
    METER.get().fits(joined(glue, parts))
    return glue.join(parts)


def _sum(env: Environment, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    get = jinja.make_attrgetter(env, attribute)
    for item in Stream(METER.get(), value):
        start = apply("+", start, get(item))
    return start


def _format(env: Environment, value: Any, *args: Any, **kwargs: Any) -> Any:
    if args and kwargs:
        raise TypeError("format takes positional or named values, not both")
    return apply("%", text(value), kwargs or args)


def _list(env: Environment, value: Any) -> list[Any]:
    return list(Stream(METER.get(), value))


def _reverse(env: Environment, value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else Stream(METER.get(), jinja.do_reverse(value))


def _round(env: Environment, value: Any, precision: int = 0, method: Any = "common") -> Any:
    if not isinstance(value, int | float):
        raise TypeError(f"round takes a number, not {type(value).__name__}")
    if whole(precision) > _PLACES:
        raise RefusalError(f"rounds to more than {_PLACES} places")
    return jinja.do_round(value, precision, method)


def _indent(
    env: Environment, s: Any, width: Any = 4, first: bool = False, blank: bool = False
) -> str:
    s, size = text(s), len(width) if isinstance(width, str) else whole(width)
    METER.get().fits(len(s) + lines(s) * (size + ITEM))
    return jinja.do_indent(s, width, first, blank)


def _replace(env: Environment, s: Any, old: Any, new: Any, count: int | None = None) -> str:
    s, old, new = str(text(s)), str(text(old)), str(text(new))
    METER.get().fits(replaced(s, old, new))
    return s.replace(old, new, -1 if count is None else count)


def _tojson(
    env: Environment,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the HTML escapes of jinja2's own filter, made piece by piece."""
    meter = METER.get()
    meter.weigh(value)
    if max(whole(indent), len(indent) if isinstance(indent, str) else 0) > _INDENT:
        raise RefusalError(f"indents JSON by more than {_INDENT} places")
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    pieces = []
    for piece in encoder.iterencode(value):
        meter.spend(len(piece))
        pieces.append(piece)
    return "".join(pieces)


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


_OWN: dict[str, Callable[..., Any]] = {
    "join": _join,
    "sum": _sum,
    "format": _format,
    "list": _list,
    "reverse": _reverse,
    "round": _round,
    "indent": _indent,
    "replace": _replace,
    "tojson": _tojson,
}
_PLAIN = _names("abs attr count d default filesizeformat first float int last length")
_TEXT = _names(
    "capitalize center e escape forceescape lower safe string title trim truncate upper wordcount"
)
_WHOLE = _names("sort min max groupby unique")  # all of the value is read and compared
_LAZY = _names("map select reject selectattr rejectattr batch slice unique items")
_SIZED = _names("center truncate batch slice")  # their numbers are sizes
_ATTRIBUTE_AT = {"groupby": 0, "sum": 0, "selectattr": 0, "rejectattr": 0}
_ATTRIBUTE_AT |= {"join": 1, "unique": 1, "min": 1, "max": 1, "sort": 2}


def _filter(name: str) -> Callable[..., Any]:
    own = _OWN.get(name)
    base = own or jinja.FILTERS[name]
    passes = "environment" if own else getattr(getattr(base, "jinja_pass_arg", None), "name", None)

    @pass_context  # so that nothing is worked out while the template is compiled
    def run(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        _check_arguments(name, args, kwargs)
        given = {
            "context": context,
            "eval_context": context.eval_ctx,
            "environment": context.environment,
        }
        first = (given[passes],) if passes else ()
        made = base(*first, _prepare(name, value), *args, **kwargs)
        meter = METER.get()
        if name in _LAZY:
            return Stream(meter, _spent(made) if name in ("batch", "slice") else made)
        if made is not value and name not in _PLAIN | {"min", "max", "sum", "tojson"}:
            meter.spend(footprint(made))
        return number(made)

    return run


def _spent(parts: Iterable[list[Any]]) -> Iterator[list[Any]]:
    for part in parts:
        METER.get().spend(CELL * len(part))
        yield part


def _check_arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    meter, values = METER.get(), (*args, *kwargs.values())
    meter.tick()
    meter.check(*values)
    if name in _SIZED and any(whole(one) > MAX_NUMBER for one in values):
        raise RefusalError(f"gives {name} a number past {MAX_NUMBER:,}")
    if name == "trim":
        for one in values:
            few(one)
    at = _ATTRIBUTE_AT.get(name, len(args))
    for attribute in (kwargs.get("attribute"), *args[at : at + 1]):
        if isinstance(attribute, str) and (len(attribute) > FEW or attribute.count(",") > 8):
            raise RefusalError("names an attribute that is too long")


def _prepare(name: str, value: Any) -> Any:
    """The value that the filter reads: text as text, and what is read item by item counted."""
    meter = METER.get()
    if name in _TEXT:
        value = text(value)
        if name in ("title", "wordcount") and len(value) > _LONG:
            raise RefusalError(f"uses {name} on more than {_LONG:,} characters")
    elif name == "dictsort":
        meter.weigh(value)
    elif name in _WHOLE:
        value = list(Stream(meter, value))
        meter.weigh(value)
    elif name in _LAZY and name != "items" and value:
        value = Stream(meter, value)
    return value


LOOP_ITEMS = "items of a loop"
"""A filter that the compiler puts round what a `for` loop reads; no template can spell it."""


@pass_context
def _loop_items(context: Context, value: Any) -> LoopItems:
    return LoopItems(METER.get(), value)


FILTERS: dict[str, Any] = {
    name: _filter(name) for name in sorted({*_OWN, "dictsort"} | _PLAIN | _TEXT | _WHOLE | _LAZY)
} | {LOOP_ITEMS: _loop_items}


# Tests

_COMPARING = _names("== eq equalto != ne > gt greaterthan ge >= < lt lessthan <= le in")


def _test(name: str) -> Callable[..., Any]:
    base: Any = JINJA_TESTS[name]

    def of_number(value: Any, *args: Any) -> Any:
        if isinstance(value, str):  # their `%` would format it
            raise TypeError(f"the test {name!r} takes a number, not a text")
        return base(value, *args)

    def of_text(value: Any) -> Any:
        return base(text(value))

    def comparing(*values: Any) -> Any:
        METER.get().check(*values)
        return base(*values)

    if name in ("odd", "even", "divisibleby"):
        return of_number
    if name in ("lower", "upper"):
        return of_text
    return comparing if name in _COMPARING else base


TESTS: dict[str, Any] = {name: _test(name) for name in JINJA_TESTS}
