"""The reference pages, written from the spec and result classes."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tfcli.errors import CODES
from tfcli.recipe.marks import Also, Only, Placeholder, mark_of
from tfcli.recipe.results import (
    ErrorResult,
    RecipeCheckResult,
    RecipeListResult,
    RecipeResult,
    RecipeSchemaResult,
    RunPlanResult,
    RunResult,
)
from tfcli.recipe.spec import Result, Spec, needs_recipe, role_of, walk_fields
from tfcli.recipe.verbs import VERBS

GENERATED = "<!-- Written by scripts/reference from the classes; edit those. -->"
ROLES = {"input": "path", "data": "data", "model": "model", "output": "folder"}


def keys_page(others: dict[str, type[Spec]]) -> str:
    """docs/reference.md: every key of every command.

    Args:
        others: specs of commands that are no verbs: command -> class.
    """
    lines = [
        GENERATED,
        "# Every key of every command",
        "",
        "A key is a recipe key, a flag (`optimizer.lr` is `--optimizer.lr`, `group_size` is",
        "`--group-size`), and a `--set` path. A *model* is a folder or file, or a hub id",
        "`org/name[@revision]`, where `org/name:Q4_K_M` or `org/name:FILE` names one of several; a",
        "*path* must exist; *data* are such a path, or a data set on the hub,",
        "`org/name[:configuration][@revision]`; a *folder* is made. A key with *only with* is",
        "refused beside other values, also when it is given its default. `*` stands for a name of",
        "yours: such keys are",
        "recipe keys and `--set` paths alone.",
        "",
        "One thing has one name, and what people type from habit is taken too:",
        "",
        "- words are keys: `tfcli quantize M OUT` is `tfcli quantize --model M --output OUT`, and",
        "  `-o` is `--output`;",
        "- a key of a section may leave the section out where no other key ends so: `--lr`;",
        "- a key with *also* has that name in recipes and as a flag;",
        "- types are shown as `float32`, `bfloat16` and `float16`, and may be written `fp32` or",
        "  `f32`, `bf16`, and `fp16` or `f16`.",
        "",
    ]
    verbs = {name: (verb.summary, verb.spec()) for name, verb in VERBS.items()}
    services = {name: (str(inspect.getdoc(spec)), spec) for name, spec in others.items()}
    for name, (summary, spec) in {**verbs, **services}.items():
        words = " ".join(word.upper() for word in spec.positional) or "RECIPE.yaml"
        words = f"RECIPE.yaml {words}" if needs_recipe(spec) else words
        lines += [f"## {name}", "", summary, "", f"    tfcli {name} {words}", ""]
        lines += ["| key | type | default | what it does |", "|---|---|---|---|"]
        for key, field in walk_fields(spec):
            cells = [f"`{key}`", field_type(field), _default(field), _about(field)]
            lines.append(_row(cells))
        lines.append("")
    return "\n".join(lines)


def json_page(others: dict[str, type[Result]]) -> str:
    """docs/json.md: the fields of every command's JSON.

    Args:
        others: results of commands that are not verbs: command -> class.
    """
    results = {name: verb.result() for name, verb in VERBS.items()}
    results |= {
        "run": RunResult,
        "run --dry-run": RunPlanResult,
        "recipe list": RecipeListResult,
        "recipe show": RecipeResult,
        "recipe validate": RecipeCheckResult,
        "recipe schema": RecipeSchemaResult,
        **others,
        "any command that fails": ErrorResult,
    }
    lines = [
        GENERATED,
        "# The JSON of every command",
        "",
        "With `--json` a command prints one JSON object on one line on stdout and nothing else",
        "there. Its first key, `schema`, gives name and version. A new field does not raise the",
        "version; a field that goes, or that changes its meaning, does. Sizes are bytes, times are",
        "seconds. The same object stands under `result` in the `run.json` of what a command made.",
        "",
    ]
    for name, result in results.items():
        title = name if name.startswith("any") else f"tfcli {name}"
        lines += [f"## {title}", "", f"`{result.schema_name}`", ""]
        lines += ["| field | type | what it is |", "|---|---|---|"]
        for path, field in _result_fields(result, ""):
            lines.append(_row([f"`{path}`", field_type(field), field.description or ""]))
        lines.append("")
    return "\n".join([*lines, *error_codes()])


def error_codes() -> list[str]:
    """The table of error codes."""
    rows = [_row([f"`{code}`", meaning]) for code, meaning in CODES.items()]
    return [
        "### Codes of errors",
        "",
        "`error.code` is stable: scripts can go by it, and not by the words. New codes may come.",
        "",
        "| code | what it stands for |",
        "|---|---|",
        *rows,
        "",
    ]


def _about(field: FieldInfo) -> str:
    """A key's description, with when it has an effect and its other names."""
    only, also = mark_of(field, Only), mark_of(field, Also)
    text = field.description or ""
    text += f" *Only with* `{only.as_keys()}`." if only else ""
    return text + (f" *Also* {', '.join(f'`{name}`' for name in also.names)}." if also else "")


def field_type(field: FieldInfo) -> str:
    """A field's type in words: `int`, `path or null`, `list of model`, `"a" or "b"`."""
    placeholder = mark_of(field, Placeholder)
    if placeholder and "|" in placeholder.text:
        return " or ".join(f"`{word}`" for word in placeholder.text.split("|"))
    return _words(field.annotation, ROLES.get(role_of(field) or ""))


def _words(annotation: Any, role: str | None) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(parts[0], role)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part, role) for part in parts)
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (list, tuple):
        if origin is tuple and Ellipsis not in parts:
            return f"{len(parts)} x {_words(parts[0], role)}"
        return f"list of {_words(parts[0], role)}"
    if origin is dict or annotation is dict:
        return "mapping"
    if annotation is type(None):
        return "null"
    if annotation is str:
        return role or "text"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    return getattr(annotation, "__name__", "any")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _result_fields(cls: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in cls.model_fields.items():
        yield prefix + name, field
        inner, mark = _model_in(field.annotation)
        if inner:
            yield from _result_fields(inner, f"{prefix}{name}{mark}.")


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model class inside a field's type, and `[]` or `.*` when it is in a list or mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    marks = {list: "[]", tuple: "[]", dict: ".*"}
    for part in get_args(annotation):
        inner, mark = _model_in(part)
        if inner:
            return inner, marks.get(get_origin(annotation), "") + mark
    return None, ""


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
