"""What a chat template may do with values: operators, methods, formats, each within the limits."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2.runtime import BlockReference, LoopContext, Macro
from jinja2.sandbox import (
    MAX_RANGE,
    SandboxedEnvironment,
    SandboxedEscapeFormatter,
    SandboxedFormatter,
)
from jinja2.utils import Cycler, Namespace
from markupsafe import Markup

from tfcli.tokenizers.chat_limits import (
    CELL,
    ITEM,
    METER,
    VIEWS,
    Meter,
    RefusalError,
    Stream,
    footprint,
)

MAX_BITS = 10_000
"""Of a whole number: about as many digits as Python agrees to print."""
MAX_NUMBER = MAX_RANGE
"""Of a width or a count, as of `range`."""
FEW = 1000
"""Characters to strip, or of an attribute's name."""
_LISTS = (str, list, tuple)


def text(value: Any) -> str:
    """A value as text, the way a template prints it; text stays what it is."""
    if isinstance(value, str):
        return value
    meter = METER.get()
    meter.check(value)
    made = str(value)
    meter.spend(len(made))
    return made


# Operators

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
    "%": operator.mod,
}
BINARY = frozenset(_OPERATORS)


def apply(symbol: str, left: Any, right: Any) -> Any:
    """`left symbol right`, unless what it gives would be too large."""
    meter = METER.get()
    meter.tick()
    if symbol == "%" and isinstance(left, str):
        meter.fits(_formatted(meter, left, right))
    elif symbol == "*":
        meter.fits(max(_repeated(left, right), _repeated(right, left)))
    elif symbol == "+" and isinstance(left, _LISTS) and isinstance(right, _LISTS):
        meter.fits(_size(left) + _size(right))
    elif symbol == "-" and (isinstance(left, VIEWS) or isinstance(right, VIEWS)):
        raise TypeError("the keys of a mapping cannot be subtracted")
    if symbol in ("*", "**") and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        _fits_number(bits + right.bit_length() if symbol == "*" else bits * right)
    made = _OPERATORS[symbol](left, right)
    if isinstance(made, _LISTS):
        meter.spend(_size(made))
    return number(made)


def number(value: Any) -> Any:
    """The value, unless it is a whole number too long to print."""
    if isinstance(value, int):
        _fits_number(value.bit_length())
    return value


def whole(value: Any) -> int:
    """The size of a whole number; 0 for anything else, which the callee will refuse."""
    return abs(value) if isinstance(value, int) else 0


def _fits_number(bits: int) -> None:
    if bits > MAX_BITS:
        raise RefusalError(f"works with a number of more than {MAX_BITS:,} bits")


def _size(value: str | list[Any] | tuple[Any, ...]) -> int:
    return len(value) * (1 if isinstance(value, str) else CELL)


def _repeated(value: Any, times: Any) -> int:
    return _size(value) * whole(times) if isinstance(value, _LISTS) else 0


def _formatted(meter: Meter, form: str, values: Any) -> int:
    """At most so many characters come of `form % values`."""
    # Every run of digits is taken for a width: a regular expression that finds the true ones
    # would have to follow parentheses.
    size = len(form) + _widths(form)
    if "*" in form:  # widths that come as values
        size += sum(whole(one) for one in (values if isinstance(values, tuple) else (values,)))
    return size + meter.weigh(values) * (form.count("%") if isinstance(values, dict) else 1)


def _widths(form: str) -> int:
    runs = re.findall(r"\d+", form)
    return 10**9 if any(len(run) > 9 for run in runs) else sum(map(int, runs))


# Attributes and methods


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ATTRIBUTES: tuple[tuple[type, frozenset[str]], ...] = (
    (
        str,
        _names(
            "upper lower title capitalize casefold swapcase strip lstrip rstrip removeprefix "
            "removesuffix split rsplit splitlines partition rpartition startswith endswith find "
            "rfind index rindex count replace join center ljust rjust zfill format format_map "
            "isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable "
            "isspace istitle isupper"
        ),
    ),
    (dict, _names("get items keys values copy")),
    (list, _names("index count copy")),
    (tuple, _names("index count grouper list")),  # the last two are those of `groupby`
    (float, _names("is_integer")),
    (
        LoopContext,
        _names(
            "index index0 revindex revindex0 first last length depth depth0 previtem nextitem "
            "cycle changed"
        ),
    ),
    (Macro, _names("name arguments catch_kwargs catch_varargs caller")),
    (BlockReference, _names("super")),
    (Cycler, _names("next reset current")),
)


def may_reach(value: Any, attribute: str) -> bool:
    """Whether a template may use an attribute of a value: only those that are listed."""
    if isinstance(value, Namespace):  # which gives what the template put in, and nothing else
        return True
    return any(attribute in names for kind, names in _ATTRIBUTES if isinstance(value, kind))


def call_text_method(method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a method of a text, unless what it gives would be too large."""
    meter, own, name = METER.get(), method.__self__, method.__name__
    meter.tick(len(own) >> 6)
    if name in ("center", "ljust", "rjust", "zfill"):
        meter.fits(max(map(whole, args), default=0))
    elif name == "replace" and len(args) > 1:
        meter.fits(replaced(own, args[0], args[1]))
    elif name == "join" and args:
        args = (list(Stream(meter, args[0])),)
        meter.fits(joined(own, args[0]))
    elif name.endswith("strip") and args:
        few(args[0])
    elif name == "splitlines":
        meter.fits(len(own) + ITEM * lines(own))
    elif name.endswith("split"):
        return _split(meter, method, *args, **kwargs)
    made = method(*args, **kwargs)
    if made is not own:
        meter.spend(footprint(made))
    return made


def _split(meter: Meter, method: Any, sep: Any = None, maxsplit: int = -1) -> list[str]:
    most = meter.limits.characters // ITEM
    pieces: list[str] = method(sep, most if maxsplit < 0 else min(maxsplit, most))
    if len(pieces) > most:
        raise RefusalError(f"splits a text into more than {most:,} pieces")
    meter.spend(footprint(pieces))
    return pieces


def replaced(own: str, old: Any, new: Any) -> int:
    """The characters of `own` with `new` for each `old`, at most."""
    if not isinstance(old, str) or not isinstance(new, str):
        return 0  # a TypeError follows
    return len(own) + own.count(old) * len(new)


def joined(glue: str, parts: list[Any]) -> int:
    """The characters of the parts with `glue` between them, at most."""
    return sum(len(one) for one in parts if isinstance(one, str)) + len(glue) * len(parts)


def lines(own: str) -> int:
    """The number of lines, at most."""
    return 1 + sum(own.count(end) for end in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


def few(value: Any) -> None:
    """Refuse a long text where each character of another text is looked up in it."""
    if isinstance(value, str) and len(value) > FEW:
        raise RefusalError(f"uses more than {FEW:,} characters where a few are meant")


# str.format


class _Format(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if _widths(format_spec) > MAX_NUMBER:
            raise RefusalError(f"formats with a width past {MAX_NUMBER:,}")
        made: str = super().format_field(value if format_spec else text(value), format_spec)
        METER.get().spend(len(made))
        return made

    def convert_field(self, value: Any, conversion: Any) -> Any:
        METER.get().check(value)
        return super().convert_field(value, conversion)


class _EscapeFormat(_Format, SandboxedEscapeFormatter):
    pass


def bounded_format(env: SandboxedEnvironment, method: Any) -> Callable[..., str]:
    """`str.format` or `str.format_map` that reaches what the template itself may reach."""
    form: str = method.__self__
    formatter = _EscapeFormat(env, escape=form.escape) if isinstance(form, Markup) else _Format(env)

    def run(*args: Any, **kwargs: Any) -> str:
        if method.__name__ == "format_map":
            args, kwargs = (), dict(*args)
        return type(form)(formatter.vformat(form, args, kwargs))

    return run
