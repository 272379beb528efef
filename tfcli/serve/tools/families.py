"""How families of models write calls of tools: each has words of its own before and around JSON.

The forms are those of the families' own chat templates, which show a model's earlier calls to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A call of a function: its name, and its arguments by name."""

    name: str
    arguments: dict[str, Any]


NAME = "$NAME"
"""Stands for the name of a function in a `Spelling`."""


@dataclass(frozen=True)
class Spelling:
    """What a model writes around the arguments of its calls.

    Args:
        before, after: the arguments of each call.
        begin, end: all calls.
        between: two calls; None: there is one call alone.
    """

    before: str
    after: str = ""
    begin: str = ""
    end: str = ""
    between: str | None = None


@dataclass(frozen=True)
class CallForm:
    """How calls are written.

    Args:
        names: of the families.
        marks: texts one of which begins the calls; nothing after it is said to the user.
        read: from the text from the mark on to the calls; none where it is no call after all.
        spelling: that calls have which must come.
        known_by: what a chat template of such a model holds; all of it.
    """

    names: str
    marks: tuple[str, ...]
    read: Callable[[str], list[Call]]
    spelling: Spelling
    known_by: tuple[str, ...]


def _objects(text: str) -> Iterator[Any]:
    """The JSON values that a text holds one after another, whatever stands between them."""
    decoder, at = json.JSONDecoder(), 0
    while (found := re.compile(r"[\[{]").search(text, at)) is not None:
        try:
            value, at = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            return
        yield value


def _named(value: Any) -> list[Call]:
    """Objects with a name and arguments, alone or in a list."""
    found = []
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            return []
        arguments = each.get("arguments", each.get("parameters", {}))
        if isinstance(arguments, str):  # some write the object as a text once more
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                return []
        if not isinstance(arguments, dict):
            return []
        found.append(Call(each["name"], arguments))
    return found


def _of_objects(text: str) -> list[Call]:
    return [call for value in _objects(text) for call in _named(value)]


def _pairs(pattern: str) -> Callable[[str], list[Call]]:
    """A name that a pattern finds, and the first object after it."""
    compiled = re.compile(pattern)

    def read(text: str) -> list[Call]:
        found = []
        for match in compiled.finditer(text):
            arguments = next(_objects(text[match.end() :]), None)
            if not isinstance(arguments, dict):
                return []
            found.append(Call(match[1], arguments))
        return found

    return read


_ARGS = _pairs(r"\[TOOL_CALLS\]\s*([\w.-]+)\s*(?:\[CALL_ID\][^\[]*)?\[ARGS\]")


def _mistral(text: str) -> list[Call]:
    return _ARGS(text) or _of_objects(text.replace("[TOOL_CALLS]", ""))


def _deepseek(name: str) -> str:
    """A special token of DeepSeek's, which has bars and spaces of its own."""
    return f"<|{name}|>".replace("|", "\uff5c").replace(" ", "\u2581")


def _object(arguments: str = "arguments") -> str:
    return f'{{"name": "{NAME}", "{arguments}": '


_CALLS = _deepseek("tool calls begin")
_MISTRAL = ("[TOOL_CALLS]",)

FORMS = (
    CallForm(
        "gpt-oss",
        ("to=functions.",),
        _pairs(r"to=functions\.([\w.-]+)[^{]*?<\|message\|>"),
        Spelling(f"<|channel|>commentary to=functions.{NAME} <|constrain|>json<|message|>"),
        ("<|channel|>", "<|message|>"),
    ),
    CallForm(
        "deepseek",
        (_CALLS,),
        _pairs(_deepseek("tool sep") + r"([\w.-]+)"),
        Spelling(
            f"{_deepseek('tool call begin')}function{_deepseek('tool sep')}{NAME}\n```json\n",
            f"\n```{_deepseek('tool call end')}",
            begin=_CALLS,
            end=_deepseek("tool calls end"),
            between="\n",
        ),
        (_CALLS,),
    ),
    CallForm(
        "mistral, newer",
        _MISTRAL,
        _mistral,
        Spelling(f"[TOOL_CALLS]{NAME}[ARGS]", between=""),
        ("[TOOL_CALLS]", "[ARGS]"),
    ),
    CallForm(
        "mistral",
        _MISTRAL,
        _mistral,
        Spelling(_object(), "}", begin="[TOOL_CALLS][", end="]", between=", "),
        _MISTRAL,
    ),
    CallForm(
        "phi",
        ("<|tool_call|>",),
        _of_objects,
        Spelling(_object(), "}", begin="<|tool_call|>[", end="]<|/tool_call|>", between=", "),
        ("<|tool_call|>",),
    ),
    CallForm(
        "functionary",
        ("<function=",),
        _pairs(r"<function=([\w.-]+)>"),
        Spelling(f"<function={NAME}>", "</function>", between=""),
        ("<function=",),
    ),
    CallForm(
        "hermes, qwen",
        ("<tool_call>",),
        _of_objects,
        Spelling(f"<tool_call>\n{_object()}", "}\n</tool_call>", between="\n"),
        ("<tool_call>",),
    ),
    *(
        CallForm(
            "llama 3",
            ("<|python_tag|>", '{"name"'),
            _of_objects,
            Spelling(_object("parameters"), "}"),
            (mark,),
        )
        for mark in ("<|eom_id|>", "<|eot_id|>")
    ),
)
"""All that are known; a template is asked in this order."""


def form_of(template: str) -> CallForm | None:
    """How a model whose chat template this is writes calls; None: in no way that is known."""
    return next((form for form in FORMS if all(mark in template for mark in form.known_by)), None)
