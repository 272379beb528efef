"""The base of every spec: the typed options of one step.

A spec class is the single source of recipe keys, command-line flags, their help, the JSON Schema
and the reference page. A verb subclasses `Spec` for what goes in and `Result` for what comes out.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Role:
    """What a string field stands for, so that inputs can be checked and hashed before the work.

    Args:
        kind: what the string names.
        words: values that name something else, such as text that comes with Python.
    """

    kind: Literal["input", "model", "output"]
    words: tuple[str, ...] = ()


InputPath = Annotated[str, Role("input")]
"""A local file or folder that must exist."""
ModelRef = Annotated[str, Role("model")]
"""A checkpoint folder, or a hub id `org/name[:file or quantization][@revision]`."""
OutputPath = Annotated[str, Role("output")]
"""The folder that the step makes."""


@dataclass(frozen=True)
class _StandardInput:
    """Marks a text that the command line reads from standard input when it is `-`."""


StandardInput = Annotated[str, _StandardInput()]
"""A text; on the command line, `-` is what stands on standard input."""


class Section(BaseModel):
    """A nested part of a spec, for example `optimizer`. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Spec(Section):
    """The options of one step.

    Class attributes:
        verb: the command's name.
        positional: the fields that the command line takes in order, without a flag.
        resumable: whether an interrupted step goes on from its partial folder.
    """

    verb: ClassVar[str]
    positional: ClassVar[tuple[str, ...]] = ()
    resumable: ClassVar[bool] = False

    def target(self) -> str | None:
        """The folder that the step makes; None where it makes none."""
        output: str | None = getattr(self, "output", None)
        return output


class Result(BaseModel):
    """What a verb returns; with --json, what the command prints.

    Class attributes:
        schema_name: name and version, for example `tfcli.eval/1`. A field that is removed or
            changes its meaning raises the version; a new field does not.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)
    schema_name: ClassVar[str]

    @model_serializer(mode="wrap")
    def _with_schema(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        fields = handler(self)
        return {"schema": self.schema_name, **(_spelt(fields) if info.mode == "json" else fields)}


def _spelt(value: Any) -> Any:
    """JSON has no number for infinity: it is written as a string, which a float field reads."""
    if isinstance(value, dict):
        return {key: _spelt(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelt(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def role_of(field: FieldInfo) -> str | None:
    """The role of a field, also inside `X | None` and `list[X]`, or None for a plain value."""
    role = _role(field)
    return role.kind if role else None


def _role(field: FieldInfo) -> Role | None:
    for item in field.metadata:
        if isinstance(item, Role):
            return item
    return _role_in(field.annotation)


def _role_in(annotation: Any) -> Role | None:
    if get_origin(annotation) is Annotated:
        for item in get_args(annotation)[1:]:
            if isinstance(item, Role):
                return item
    for part in get_args(annotation):
        found = _role_in(part)
        if found:
            return found
    return None


def reads_standard_input(field: FieldInfo) -> bool:
    """Whether `-` stands for standard input in a field."""
    return _has(field.annotation, _StandardInput) or any(
        isinstance(item, _StandardInput) for item in field.metadata
    )


def _has(annotation: Any, mark: type) -> bool:
    parts = get_args(annotation)
    return any(isinstance(part, mark) or _has(part, mark) for part in parts)


def section_of(annotation: Any) -> type[Section] | None:
    """The Section class of a field's annotation, also inside `X | None`; None for other fields."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            found = section_of(part)
            if found:
                return found
    return None


def walk_fields(cls: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf field of a spec with its dotted path, in order: `optimizer.lr`, ..."""
    for name, field in cls.model_fields.items():
        section = section_of(field.annotation)
        if section:
            yield from walk_fields(section, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def paths_with_role(spec: Spec, kind: str) -> list[tuple[str, str]]:
    """The (key, value) pairs of a spec's fields of one role; a list field gives a pair an item."""
    found: list[tuple[str, str]] = []
    for key, field in walk_fields(type(spec)):
        role = _role(field)
        if role is None or role.kind != kind:
            continue
        value: Any = spec
        for part in key.split("."):
            value = getattr(value, part, None)
        for item in value if isinstance(value, list | tuple) else [value]:
            if item is not None and item not in role.words:
                found.append((key, item))
    return found
