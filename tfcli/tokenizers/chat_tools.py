"""JSON schemas of Python functions, so that functions can be given to a chat template as tools.

The name, the types and the defaults come from the signature, the descriptions from a docstring in
Google's style. The schemas are those of transformers' `get_json_schema`.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tfcli.errors import WorkError

Function = Callable[..., Any]

_SECTION = re.compile(r"\s*(Args|Returns|Raises):\s*")
_ENTRY = re.compile(r"([ \t]*)(\w+)(?: \([^)]*\))?:\s*(.*)")
_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)
_SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
_NAMED = {"PIL.Image.Image": "image", "torch.Tensor": "audio"}
"""Classes of packages that are not imported for this."""


def tool_schemas(tools: Any) -> Any:
    """Tools with a JSON schema in the place of each function; anything else as it is.

    Raises:
        WorkError: as `get_json_schema`.
    """
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        return tools
    return [get_json_schema(tool) if _is_function(tool) else tool for tool in tools]


def _is_function(tool: Any) -> bool:
    return inspect.isfunction(tool) or inspect.ismethod(tool)


def get_json_schema(function: Function) -> dict[str, Any]:
    """The JSON schema of a function that a model may call.

    Args:
        function: a function or a method. Each argument but `self` and `cls` has a type and a line
            under `Args:` in the docstring; `(choices: ["a", "b"])` at its end lists the values.

    Returns:
        `{"type": "function", "function": {"name", "description", "parameters"}}`, and `return`
        where the function says what it returns

    Raises:
        WorkError: no docstring, an argument without a description or a type, or a type that JSON
            has no schema for. The error names the function and the argument.
    """
    name = getattr(function, "__name__", "operation")
    text = (inspect.getdoc(function) or "").strip()
    if not text:
        raise WorkError(
            "a tool has no docstring",
            where=name,
            fix="say in a docstring what the function does, and under Args: what each argument is",
        )
    sections = _sections(text)
    described = _entries(sections.get("Args", ""))
    hints = _hints(function, name)
    properties, required = {}, []
    for argument, parameter in _parameters(function).items():
        where = f"{name}({argument})"
        if argument not in hints:
            raise WorkError("the argument has no type", where=where, fix="annotate it")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise WorkError("a schema cannot name arguments of any number", where=where)
        if argument not in described:
            raise WorkError(
                "the docstring does not describe the argument",
                where=where,
                fix=f"add a line '{argument}: ...' under Args:",
            )
        properties[argument] = _property(hints[argument], described[argument], where)
        if parameter.default is parameter.empty:
            required.append(argument)
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    schema = {"name": name, "description": sections[""].strip(), "parameters": parameters}
    returned = _returned(hints, sections.get("Returns"))
    if returned is not None:
        schema["return"] = returned
    return {"type": "function", "function": schema}


def _parameters(function: Function) -> Mapping[str, inspect.Parameter]:
    """The arguments that a caller gives: of a method not the object."""
    found = dict(inspect.signature(function).parameters)
    first = next(iter(found), None)
    if first in ("self", "cls") and found[first].annotation is inspect.Parameter.empty:
        del found[first]
    return found


def _hints(function: Function, name: str) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError) as error:
        raise WorkError(f"a type cannot be read: {error}", where=name) from error


def _sections(text: str) -> dict[str, str]:
    """A docstring's parts by the names of their headings; what stands before them has none."""
    found: dict[str, list[str]] = {"": []}
    lines = found[""]
    for line in text.split("\n"):
        heading = _SECTION.fullmatch(line)
        if heading:
            lines = found.setdefault(heading[1], [])
        else:
            lines.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def _entries(section: str) -> dict[str, str]:
    """Name -> description, of lines `name: description` with the lines that continue them."""
    found: dict[str, str] = {}
    name, deeper = None, " "
    for line in section.split("\n"):
        entry = _ENTRY.match(line)
        if entry and (name is None or not line.startswith((f"{deeper} ", f"{deeper}\t"))):
            deeper, name, found[entry[2]] = entry[1], entry[2], entry[3].strip()
        elif line.strip() and name is not None:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _property(hint: Any, description: str, where: str) -> dict[str, Any]:
    schema = _schema(hint, where)
    choices = _CHOICES.search(description)
    if choices:
        try:
            values = json.loads(choices[1])
        except json.JSONDecodeError as error:
            raise WorkError(
                f"its choices are no JSON: {choices[1]}",
                where=where,
                fix='write them as (choices: ["a", "b"])',
            ) from error
        schema["enum"] = [value.strip() if isinstance(value, str) else value for value in values]
        description = description[: choices.start()].strip()
    return {**schema, "description": description}


def _returned(hints: Mapping[str, Any], section: str | None) -> dict[str, Any] | None:
    """What the function returns; a type without a schema is left out, as no model needs it."""
    if "return" not in hints:
        return None
    try:
        schema = _schema(hints["return"], "return")
    except WorkError:
        return None
    return schema if section is None else {**schema, "description": section.strip()}


def _schema(hint: Any, where: str) -> dict[str, Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(args, where)
    if origin is Literal:
        return _values(list(args), where)
    if origin is tuple and args:
        return _tuple(args, where)
    if origin is list and args:
        return {"type": "array", "items": _schema(args[0], where)}
    if origin is dict and args:
        return {"type": "object", "additionalProperties": _schema(args[1], where)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _values([member.value for member in hint], where)
    return _plain(hint if origin is None else origin, where)


def _plain(hint: Any, where: str) -> dict[str, Any]:
    if hint is Any:
        return {}
    if hint in (list, tuple):
        return {"type": "array"}
    if hint is dict:
        return {"type": "object"}
    full = f"{getattr(hint, '__module__', '')}.{getattr(hint, '__qualname__', '')}"
    kind = _SCALARS.get(hint) or _NAMED.get(full)
    if kind is None:
        raise WorkError(
            f"there is no JSON schema for the type {getattr(hint, '__name__', hint)}",
            where=where,
            fix="use int, float, str, bool, list, dict, tuple, Literal, an Enum or a union of "
            "them; or give the tool's schema in place of the function",
        )
    return {"type": kind}


def _values(values: list[Any], where: str) -> dict[str, Any]:
    """One of a few values, as of a Literal or an Enum."""
    if not values:
        raise WorkError("the Enum has no members", where=where)
    odd = next((value for value in values if type(value) not in _SCALARS), None)
    if odd is not None:
        raise WorkError(f"JSON has no value such as {odd!r}", where=where)
    kinds = list(dict.fromkeys(_SCALARS[type(value)] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}


def _tuple(args: tuple[Any, ...], where: str) -> dict[str, Any]:
    if len(args) == 1 or ... in args:
        raise WorkError(
            "a tuple of one value or of any number of them has no schema",
            where=where,
            fix="use a list, or the value alone",
        )
    return {"type": "array", "prefixItems": [_schema(arg, where) for arg in args]}


def _union(args: tuple[Any, ...], where: str) -> dict[str, Any]:
    """None makes it nullable; types without more to say are listed, others are alternatives."""
    options = [_schema(arg, where) for arg in args if arg is not type(None)]
    if len(options) == 1:
        schema = options[0]
    elif all(option.keys() == {"type"} and isinstance(option["type"], str) for option in options):
        names = sorted({option["type"] for option in options})
        schema = {"type": names[0] if len(names) == 1 else names}
    else:
        schema = {"anyOf": options}
    return {**schema, "nullable": True} if type(None) in args else schema
