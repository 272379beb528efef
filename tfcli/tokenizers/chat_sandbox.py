"""jinja2's immutable sandbox, with a hook at everything that a chat template does.

The environment is that of transformers: blocks trimmed, `break` and `continue`, `raise_exception`,
`strftime_now`, `tojson` without HTML escapes, and the `generation` tag. The compiler is told to
fold nothing and to call a hook at every operator, literal list, comparison and piece of output, so
that a rendering stays within its `Meter`, on any thread and without a signal or a process.
"""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Any

from jinja2 import nodes
from jinja2.environment import Template
from jinja2.exceptions import TemplateRuntimeError
from jinja2.ext import LoopControlExtension
from jinja2.runtime import BlockReference, Context, LoopContext, Macro
from jinja2.sandbox import MAX_RANGE, ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from tfcli.tokenizers.chat_compiler import ChatCompiler, Generation
from tfcli.tokenizers.chat_filters import FILTERS, LOOP_ITEMS, TESTS
from tfcli.tokenizers.chat_limits import CELL, ITEM, METER, LoopItems, RefusalError, footprint
from tfcli.tokenizers.chat_values import (
    BINARY,
    apply,
    bounded_format,
    call_text_method,
    may_reach,
    text,
)

MAX_LOOPS = 20
"""Loops within one another: Python has the same limit."""


class RaisedError(TemplateRuntimeError):
    """The template called `raise_exception`."""


class ChatNamespace(Namespace):
    """A namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # a namespace may have a name `self`
        own, args = args[0], args[1:]
        attributes = {_public(name): value for name, value in dict(*args, **kwargs).items()}
        METER.get().spend(ITEM * len(attributes))
        Namespace.__init__(own, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(_public(name), value)


def _public(name: Any) -> Any:
    if isinstance(name, str) and name.startswith("_"):
        raise RefusalError(f"makes an attribute {name!r}: those that begin with _ are not its own")
    return name


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Where chat templates are compiled; it keeps nothing of a rendering, which has its `Meter`."""

    code_generator_class = ChatCompiler
    intercepted_binops = BINARY

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            cache_size=0,
            extensions=[Generation, LoopControlExtension],
        )
        self.filters, self.tests = FILTERS, TESTS
        self.globals = {
            "range": _range,
            "dict": dict,
            "namespace": ChatNamespace,
            "cycler": Cycler,
            "joiner": Joiner,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        waiting: list[tuple[nodes.Node, int]] = [(source, 0)]
        while waiting:
            node, loops = waiting.pop()
            if isinstance(node, nodes.For):
                loops += 1
                if loops > MAX_LOOPS:  # the compiler reads the innermost once for each
                    raise RefusalError(f"has more than {MAX_LOOPS} loops within one another")
                node.iter = nodes.Filter(node.iter, LOOP_ITEMS, [], [], None, None)
                node.iter.set_lineno(node.lineno).set_environment(self)
            waiting += [(child, loops) for child in node.iter_child_nodes()]
        return super()._generate(source, *args, **kwargs)

    # What the compiled template calls

    def emit(self, value: Any) -> str:
        """A value as a piece of the output."""
        made = str(text(value))
        METER.get().spend(len(made))
        return made

    text = staticmethod(text)

    def concatenate(self, values: tuple[Any, ...]) -> str:
        """The values of `a ~ b ~ c` as one text."""
        parts = [str(text(value)) for value in values]
        METER.get().spend(sum(map(len, parts)))
        return "".join(parts)

    def operand(self, value: Any) -> Any:
        """A value that is about to be compared or hashed."""
        METER.get().check(value)
        return value

    def made(self, value: Any) -> Any:
        """A list, tuple or mapping that the template spells out."""
        METER.get().spend(CELL * len(value))
        return value

    def cut(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """`value[start:stop:step]`."""
        part = value[start:stop:step]
        METER.get().spend(len(part) if isinstance(part, str) else CELL * len(part))
        return part

    # What jinja2 calls

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return apply(operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        METER.get().tick()
        METER.get().check(argument)
        return super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return super().is_safe_attribute(obj, attr, value) and may_reach(obj, attr)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        what = f"reaches for {attribute!r} of a value of type {type(obj).__name__}"
        if attribute.startswith("_"):  # only an attack asks for these; jinja2 would print nothing
            raise RefusalError(what)
        return self.undefined(what, name=attribute, obj=obj, exc=RefusalError)  # raised when used

    def wrap_str_format(self, value: Any) -> Any:
        if not isinstance(value, types.MethodType | types.BuiltinMethodType):
            return None
        if value.__name__ not in ("format", "format_map") or not isinstance(value.__self__, str):
            return None
        return bounded_format(self, value)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        meter = METER.get()
        meter.spend(ITEM * (len(args) + len(kwargs)))
        if isinstance(obj, LoopContext) and args:  # `loop(items)` of a recursive loop
            args = (LoopItems(meter, args[0]), *args[1:])
        if isinstance(obj, Macro | LoopContext | BlockReference) or _is_mark(obj):
            with meter.deeper():
                return super().call(context, obj, *args, **kwargs)
        for own in ("_loop_vars", "_block_vars"):  # jinja2's, for functions that take the context
            kwargs.pop(own, None)
        meter.check(*args, *kwargs.values())
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            return call_text_method(obj, args, kwargs)
        if isinstance(owner, list | tuple):  # `index` and `count` compare all that is in it
            meter.weigh(owner)
        made = super().call(context, obj, *args, **kwargs)
        if obj is dict or getattr(obj, "__name__", None) == "copy":
            meter.spend(footprint(made))
        return made


def _is_mark(obj: Any) -> bool:
    return isinstance(getattr(obj, "__self__", None), Generation)


def _range(*ends: int) -> range:
    numbers = range(*ends)
    if len(numbers[: MAX_RANGE + 1]) > MAX_RANGE:  # `len` alone cannot say what is past 64 bits
        raise RefusalError(f"counts past {MAX_RANGE:,}")
    return numbers


def _raise_exception(message: Any) -> None:
    raise RaisedError(text(message))


def _strftime_now(form: str) -> str:
    if len(form) > 200:
        raise RefusalError("formats the date with more than 200 characters")
    return METER.get().now.strftime(form)


@lru_cache(maxsize=1)
def _environment() -> ChatEnvironment:
    return ChatEnvironment()


@lru_cache(maxsize=16)
def compiled(source: str) -> Template:
    """A template ready to render; the last few stay compiled.

    Raises:
        TemplateSyntaxError, SyntaxError, RecursionError: what cannot be compiled.
    """
    return _environment().from_string(source)
