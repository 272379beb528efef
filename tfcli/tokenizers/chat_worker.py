"""The process in which chat templates run: jinja2's immutable sandbox, within limits of the system.

`chat_sandbox` starts this file as a script. It imports the standard library and jinja2 alone, and
answers requests until there are no more. A request is a head and a mapping in marshal's form, which
for long conversations is several times as fast as JSON; an answer is a head, JSON and the text.

The environment is that of transformers: blocks trimmed, `break` and `continue`, `raise_exception`,
`strftime_now`, `tojson` without HTML escapes, and the `generation` tag. Templates of evaluation
tasks have one like lm-evaluation-harness's: nothing is trimmed, a name without a value is an error,
and there is a filter `regex_replace`.
"""

from __future__ import annotations

import json
import marshal
import os
import re
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

try:
    import resource
except ImportError:  # not on this system; the parent's limit of time holds
    resource = None  # type: ignore[assignment]

# The folders of jinja2 and markupsafe come as arguments: nothing else beyond the standard library
# can be imported.
if __name__ == "__main__":
    sys.path += sys.argv[1:]

from jinja2 import StrictUndefined, Template, nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

HEAD = struct.Struct("<QQ")  # the bytes of the mapping, and of the text behind it
_SAID = 500  # characters of an error's message, which a template can make as long as any text
_GIVEN = 64  # bytes of memory for each byte of a request: copies of it are honest work
_SOURCE = "<template>"  # jinja2's name of a template that is no file


class RaisedError(TemplateError):
    """The template called `raise_exception`."""


class LongError(Exception):
    """The text is longer than it may be."""


class ChatNamespace(Namespace):
    """A namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # a namespace may have a name `self`
        own, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            _public(name)
        Namespace.__init__(own, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _public(name)
        super().__setitem__(name, value)


def _public(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"makes an attribute {name!r}; those that begin with _ are not its own")


class ChatDict:
    """`dict` as a template may call it, without the attributes of the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: what the assistant wrote, for the training mask.

    Attributes:
        marks: what to put before and behind each such part; empty: nothing.
        used: a template that was compiled has the tag.
    """

    tags = {"generation"}  # noqa: RUF012 - jinja2's own declaration
    marks = ("", "")
    used = False

    def parse(self, parser: Parser) -> nodes.Node:
        self.used = True
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

    def mark(self, caller: Any) -> str:
        """The text of the part, between the marks."""
        before, behind = self.marks
        made: str = caller()
        return before + made + behind if before else made


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Where templates are compiled.

    Attributes:
        now: the date that a template sees.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(
            cache_size=0,
            extensions=[Generation, LoopControlExtension],
            **more,
        )
        self.now = datetime.min
        self.filters["tojson"] = _tojson
        self.globals |= {
            "dict": ChatDict(),
            "namespace": ChatNamespace,
            "raise_exception": _raise_exception,
            "strftime_now": lambda form: self.now.strftime(form),
        }

    @property
    def generation(self) -> Generation:
        """The extension for the `generation` tag."""
        found: Any = self.extensions[Generation.identifier]
        return found

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        what = f"reaches for {attribute!r} of a value of type {type(obj).__name__}"
        if attribute.startswith("_"):  # only an attack asks for these; jinja2 would print nothing
            raise SecurityError(what)
        return self.undefined(what, name=attribute, obj=obj, exc=SecurityError)  # raised when used


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: Any) -> None:
    raise RaisedError(str(message))


def _regex_replace(text: Any, pattern: str, put: str, count: int = 0) -> str:
    return re.sub(pattern, put, text, count=count)


ENVIRONMENT = ChatEnvironment(trim_blocks=True, lstrip_blocks=True)
TASKS = ChatEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
TASKS.filters["regex_replace"] = _regex_replace


@lru_cache(maxsize=16)
def _compiled(source: str, of_task: bool) -> tuple[Template, bool]:
    """A template ready to render, and whether it marks parts; the last few stay compiled."""
    if of_task:
        return TASKS.from_string(source), False
    ENVIRONMENT.generation.used = False
    template = ENVIRONMENT.from_string(source)
    return template, ENVIRONMENT.generation.used


def render(request: dict[str, Any]) -> dict[str, Any]:
    """The text of a request and its marked parts, or what is wrong.

    Args:
        request: `template`, `values`, `now` in ISO form, the most `characters` of the text, and
            whether it is `of_task`.
    """
    ENVIRONMENT.now = datetime.fromisoformat(request["now"])
    values = request["values"]
    try:
        template, marked = _compiled(request["template"], request["of_task"])
        text = _text(template, values, request["characters"])
        return {"text": text, "spans": _spans(template, values, text) if marked else None}
    except TemplateSyntaxError as error:
        return {"error": "invalid", "said": _said(error.message), "line": error.lineno}
    except SyntaxError as error:  # Python's own, on what jinja2 made of it
        return {"error": "invalid", "said": _said(error.msg), "line": None}
    except RaisedError as error:
        return {"error": "refuses", "said": _said(error), "line": _line(error)}
    except SecurityError as error:
        return {"error": "forbidden", "said": _said(error), "line": _line(error)}
    except LongError:
        return {"error": "long", "said": "", "line": None}
    except RecursionError as error:
        return {"error": "deep", "said": "", "line": _line(error)}
    except MemoryError:
        return {"error": "memory", "said": "", "line": None}
    except Exception as error:  # noqa: BLE001 - a template's own code can raise anything
        return {"error": "fails", "said": _said(error), "line": _line(error)}


def _text(template: Template, values: dict[str, Any], most: int) -> str:
    pieces, size = [], 0
    for piece in template.generate(values):
        size += len(piece)
        if size > most:
            raise LongError
        pieces.append(piece)
    return "".join(pieces)


def _spans(template: Template, values: dict[str, Any], text: str) -> list[tuple[int, int]] | None:
    """Where the marked parts are in the text: it is made again with marks that no one can guess.

    None where the marks change what the template writes, as when it counts or trims a part that
    they are in.
    """
    secret = str(int.from_bytes(os.urandom(16), "big"))  # digits are the same in capitals
    before, behind = ENVIRONMENT.generation.marks = f"\ue000{secret}", f"\ue001{secret}"
    try:
        marked = _text(template, values, sys.maxsize)
    except Exception:  # noqa: BLE001 - it did not fail without the marks
        return None
    finally:
        ENVIRONMENT.generation.marks = ("", "")
    pieces = re.split(f"({before}|{behind})", marked)
    if "".join(pieces[::2]) != text:
        return None
    spans, place, depth, start = [], 0, 0, 0
    for piece in pieces:
        if piece == before:
            start = place if depth == 0 else start
            depth += 1
        elif piece == behind:
            depth -= 1
            if depth == 0:
                spans.append((start, place))
        else:
            place += len(piece)
    return spans


def _said(error: BaseException | str | None) -> str:
    said = str(error) or type(error).__name__
    return said if len(said) <= _SAID else said[:_SAID] + "..."


def _line(error: BaseException) -> int | None:
    """The line of the template that an error comes from."""
    line, at = None, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == _SOURCE:
            line = at.tb_lineno
        at = at.tb_next
    return line


# Limits of the system


def _addresses() -> int:
    """Bytes of addresses that this process has now."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib is not imported here
        return int(file.read().split()[0]) * resource.getpagesize()


@contextmanager
def limited(seconds: float, wall: float, memory: int) -> Iterator[None]:
    """Within the block, more memory is a MemoryError, and more time ends the process.

    The timers' signals keep their default action, which no code of Python can delay.

    Args:
        seconds: of processor time.
        wall: seconds by the clock.
        memory: bytes beside what the process has now.
    """
    with suppress(OSError, ValueError, AttributeError):  # where the system cannot, it is not held
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (_addresses() + memory, hard))
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, wall)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this process ends it
    if hasattr(signal, "setitimer"):
        for timer in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(timer, signal.SIG_DFL)
    with suppress(OSError, ValueError, AttributeError):
        for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
            resource.setrlimit(kind, (0, 0))
    reads, writes = sys.stdin.buffer, sys.stdout.buffer
    while head := reads.read(HEAD.size):
        size, _ = HEAD.unpack(head)
        request = marshal.loads(reads.read(size))
        with limited(request["seconds"], request["wall"], request["memory"] + _GIVEN * size):
            answer = render(request)
        text = answer.pop("text", "").encode("utf-8", "surrogatepass")
        rest = json.dumps(answer).encode()
        writes.write(HEAD.pack(len(rest), len(text)) + rest + text)
        writes.flush()


if __name__ == "__main__":
    main()
