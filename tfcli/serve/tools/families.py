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


@dataclass(frozen=True)
class CallForm:
    """How calls are written.

    Args:
        names: of the families.
        marks: texts one of which begins the calls; nothing after it is said to the user.
        read: from the text from the mark on to the calls; none where it is no call after all.
        known_by: what a chat template of such a model holds.
    """

    names: str
    marks: tuple[str, ...]
    read: Callable[[str], list[Call]]
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


_MISTRAL = _pairs(r"\[TOOL_CALLS\]\s*([\w.-]+)\s*(?:\[CALL_ID\][^\[]*)?\[ARGS\]")


def _mistral(text: str) -> list[Call]:
    return _MISTRAL(text) or _of_objects(text.replace("[TOOL_CALLS]", ""))


_DEEPSEEK = "<\uff5ctool\u2581calls\u2581begin\uff5c>"  # its own bars and spaces, not ASCII's

FORMS = (
    CallForm(
        "deepseek",
        (_DEEPSEEK,),
        _pairs("<\uff5ctool\u2581sep\uff5c>" + r"([\w.-]+)"),
        (_DEEPSEEK,),
    ),
    CallForm("mistral", ("[TOOL_CALLS]",), _mistral, ("[TOOL_CALLS]",)),
    CallForm("phi", ("<|tool_call|>",), _of_objects, ("<|tool_call|>",)),
    CallForm("functionary", ("<function=",), _pairs(r"<function=([\w.-]+)>"), ("<function=",)),
    CallForm("hermes, qwen", ("<tool_call>",), _of_objects, ("<tool_call>",)),
    CallForm("llama 3", ("<|python_tag|>", '{"name"'), _of_objects, ("<|eom_id|>", "<|eot_id|>")),
)
"""All that are known; a template is asked in this order."""


def form_of(template: str) -> CallForm | None:
    """How a model whose chat template this is writes calls; None: in no way that is known."""
    found = (form for form in FORMS if any(mark in template for mark in form.known_by))
    return next(found, None)
