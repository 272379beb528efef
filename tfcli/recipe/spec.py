"""The base of every spec: the typed options of one step.

A spec class is the single source of recipe keys, command-line flags, their help, the JSON Schema
and the reference page. A verb subclasses `Spec` for what goes in and `Result` for what comes out.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from tfcli.recipe.marks import Also, Only, Placeholder, Spellings, marks


@dataclass(frozen=True)
class Word:
    """A word for data that need no file: text that comes with Python, or what tfcli draws.

    Args:
        name: what stands in a spec.
        module: the module that holds or makes them.
    """

    name: str
    module: str


Reads = Literal["file", "data", "model", "tokenizer", "run", "code", "task"]
"""How an input is read, which decides what belongs to it besides the file or folder itself:
nothing (`file`, `data`); what a checkpoint, or a tokenizer, takes from beside it; the record of a
finished step; the modules that a Python file imports from beside it; what a task's file includes,
and its data."""


RoleKind = Literal["input", "data", "model", "output"]
ROLES: tuple[RoleKind, ...] = get_args(RoleKind)
READ: tuple[RoleKind, ...] = ("input", "data", "model")
"""The roles of what a step reads."""


@dataclass(frozen=True)
class Role:
    """What a string field stands for, so that inputs can be checked and hashed before the work.

    Args:
        kind: what the string names.
        reads: how an input is read.
        words: values that name something else.
        unset: what is read where the key has an effect and no value.
    """

    kind: RoleKind
    reads: Reads = "file"
    words: tuple[Word, ...] = ()
    unset: Word | None = None


def _has_name(value: str) -> str:
    if not PurePath(value).name:
        raise ValueError(f"{value!r} names no folder to make; give it a name")
    return value


InputPath = Annotated[str, Role("input")]
"""A local file or folder that must exist."""
TokenizerPath = Annotated[str, Role("input", reads="tokenizer")]
"""A folder with a tokenizer, or a file of one."""
TaskPath = Annotated[str, Role("input", reads="task")]
"""The file of an evaluation task."""
RunPath = Annotated[str, Role("input", reads="run")]
"""The folder of a finished step."""
ModelRef = Annotated[str, Role("model", reads="model")]
"""A checkpoint: a folder, a file, or a hub id `org/name[:file or quantization][@revision]`."""
DataRef = Annotated[str, Role("data", reads="data")]
"""Data: a file, a folder, or a data set on the hub, `org/name[:configuration][@revision]`."""
OutputPath = Annotated[str, Role("output"), AfterValidator(_has_name)]
"""The folder that the step makes."""
OutputFile = Annotated[str, Role("output"), Placeholder("FILE"), AfterValidator(_has_name)]
"""The file that the step makes, of a verb with a `suffix`."""


@dataclass(frozen=True)
class _StandardInput:
    """Marks a text that the command line reads from standard input when it is `-`."""


StandardInput = Annotated[str, _StandardInput()]
"""A text; on the command line, `-` is what stands on standard input."""


class Section(BaseModel):
    """A nested part of a spec, for example `optimizer`.

    Unknown keys are refused, and so are keys without an effect (`Only`). A key may go by another
    name (`Also`) and a value by another spelling (`Spellings`); the spec holds the one.

    Class attributes:
        stands_for: the key that a text alone in the section's place gives; None: a text is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    stands_for: ClassVar[str | None] = None

    @model_validator(mode="wrap")
    @classmethod
    def _check_what_is_given(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        data = cls.as_keys(data)
        if not isinstance(data, dict):
            return handler(data)
        data, found = _under_one_name(cls, data)
        try:
            made = handler(data)
            values = {name: getattr(made, name) for name in cls.model_fields}
        except ValidationError as error:
            refused = {item["loc"] for item in found}
            lines = error.errors(include_url=False)
            found += [_again(item) for item in lines if item["loc"] not in refused]
            # What is wrong itself does not say whether another key has an effect.
            wrong = {item["loc"][0] for item in found if item["loc"]}
            defaults = {name: field.default for name, field in cls.model_fields.items()}
            values = {k: v for k, v in {**defaults, **data}.items() if k not in wrong}
        found += _without_effect(cls, data, values)
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        return made

    @classmethod
    def as_keys(cls, data: Any) -> Any:
        """What a recipe has in the section's place, a text alone under the key it stands for."""
        named = isinstance(data, str) and cls.stands_for is not None
        return {cls.stands_for: data} if named else data

    @model_serializer(mode="wrap")
    def _keys_with_effect(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is recorded, hashed and printed: it can be given again as it is."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        idle = {name for name, only in marks(type(self).model_fields, Only) if only.unmet(values)}
        return {key: value for key, value in handler(self).items() if key not in idle}


class Spec(Section):
    """The options of one step.

    Class attributes:
        verb: the command's name.
        positional: the fields that the command line takes in order, without a flag.
        resumable: whether an interrupted step goes on from its partial folder.
        scratch: patterns of the names there that only an interrupted step needs: no part of the
            artifact, and deleted when that is complete.
        distributed: whether several processes, as torchrun starts them, share its work.
        suffix: of a verb whose output is one file: how its name ends where a recipe gives it. None
            where the output is a folder.
        loads_first: whether all of its sources are in memory before its work begins. They may
            change then; those of others must stay as they are until the step is done.
    """

    verb: ClassVar[str]
    positional: ClassVar[tuple[str, ...]] = ()
    resumable: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = ()
    distributed: ClassVar[bool] = False
    suffix: ClassVar[str | None] = None
    loads_first: ClassVar[bool] = False

    def works_alone(self) -> str | None:
        """What works in one process, for messages; None where several can share this step."""
        return None if self.distributed else self.verb

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        """No file has a name with a NUL in it, and the calls that are given one fail variously."""
        for kind in ROLES:
            for key, value in paths_with_role(self, kind):
                if "\0" in value:
                    raise ValueError(f"{key}: {value!r} holds a NUL character, as no name does")
        return self

    def target(self) -> str | None:
        """The folder or file that the step makes; None where it makes none."""
        output: str | None = getattr(self, "output", None)
        return output

    def steps(self) -> Mapping[str, Spec]:
        """The steps that it stands for, by name, in their order; none where it is a step itself."""
        return {}

    def only_looks(self) -> bool:
        """Whether the step only says what is there or what would be done: no code that a recipe
        names is run for that."""
        return False


class Result(BaseModel):
    """What a verb returns; with --json, what the command prints.

    Class attributes:
        schema_name: name and version, for example `tfcli.eval/1`. A field that is removed or
            changes its meaning raises the version; a new field does not.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)
    schema_name: ClassVar[str]

    def finding(self) -> str | None:
        """What the work found for which the command ends with exit code 1, although it is done
        and kept; None: nothing."""
        return None

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


def _under_one_name(
    cls: type[Section], data: dict[str, Any]
) -> tuple[dict[str, Any], list[InitErrorDetails]]:
    """The values under the fields' names and in the specs' spelling, and what is given twice."""
    data, found = dict(data), []
    for name, also in marks(cls.model_fields, Also):
        given = [other for other in (name, *also.names) if other in data]
        if len(given) > 1:
            what = PydanticCustomError(
                "given_twice", "{keys} are one key", {"keys": " and ".join(map(repr, given))}
            )
            found.append(InitErrorDetails(type=what, loc=(given[-1],), input=data[given[-1]]))
        for other in given:
            value = data.pop(other)
            data.setdefault(name, value)
    for name, spellings in marks(cls.model_fields, Spellings):
        value = data.get(name)
        if isinstance(value, str):
            data[name] = spellings.of.get(value, value)
    for name, field in cls.model_fields.items():
        if isinstance(data.get(name), bool) and _is_number(field.annotation):
            what = PydanticCustomError("no_number", "Input should be a number")
            found.append(InitErrorDetails(type=what, loc=(name,), input=data.pop(name)))
    return data, found


def _is_number(annotation: Any) -> bool:
    """Whether a field takes numbers and neither yes nor no, which Python counts as 1 and 0."""
    parts = _parts(annotation)
    return bool({int, float} & parts) and not {bool, Any} & parts


def _parts(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return {part for inner in get_args(annotation) for part in _parts(inner)}
    return {annotation} if isinstance(annotation, type) or annotation is Any else set()


def _without_effect(
    cls: type[Section], data: dict[str, Any], values: dict[str, Any]
) -> list[InitErrorDetails]:
    """An error for each key that is given and has no effect.

    Args:
        data: what is given.
        values: what is known to hold, defaults included.
    """
    found = []
    for name, only in marks(cls.model_fields, Only):
        if name not in data or (data[name] is None and cls.model_fields[name].default is None):
            continue
        if only.off is not None and data[name] == only.off:
            continue
        if not only.keys <= values.keys():
            continue
        key = only.unmet(values)
        if key is not None:
            what = PydanticCustomError(
                "no_effect",
                "{key} has no effect with {other}",
                {"key": name, "other": _held(key, values[key]), "needs": only.as_keys()},
            )
            found.append(InitErrorDetails(type=what, loc=(name,), input=data[name]))
    return found


def _held(key: str, value: Any) -> str:
    if value is None:
        return f"no {key}"
    return f"{key}: {str(value).lower() if isinstance(value, bool) else value}"


def _again(item: Any) -> InitErrorDetails:
    """A line of a ValidationError that can be raised once more, beside others."""
    kind: Any = item["type"]
    if kind in OWN_ERRORS:
        kind = PydanticCustomError(kind, item["msg"], item.get("ctx"))
    details = InitErrorDetails(type=kind, loc=item["loc"], input=item["input"])
    if "ctx" in item and kind is item["type"]:
        details["ctx"] = item["ctx"]
    return details


OWN_ERRORS = ("no_effect", "given_twice", "no_number")
"""The kinds of errors that are not pydantic's."""


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


def entries_of(annotation: Any) -> type[Section] | None:
    """The Section class of the values of a mapping, `dict[str, Section]`; None for other fields."""
    if get_origin(annotation) is not dict:
        return None
    return section_of(get_args(annotation)[1])


def section_at(cls: type[Section], path: Sequence[str]) -> type[Section] | None:
    """The Section class at a path of keys, names of a mapping's entries among them; None if what
    is there is none."""
    found: type[Section] | None = cls
    parts = iter(path)
    for part in parts:
        field = found.model_fields.get(part) if found is not None else None
        if field is None:
            return None
        found = section_of(field.annotation)
        if found is None:
            found = entries_of(field.annotation)
            if next(parts, None) is None:
                return None  # the mapping itself
    return found


EACH = "*"
"""Stands in a dotted path for the name of a mapping's entry."""


def walk_fields(cls: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf field of a spec with its dotted path, in order: `optimizer.lr`, ...

    Those of a mapping's entries come once, with `*` for the name: `model.encoders.*.token`.
    """
    for name, field in cls.model_fields.items():
        section, entry = section_of(field.annotation), entries_of(field.annotation)
        if section:
            yield from walk_fields(section, f"{prefix}{name}.")
        elif entry:
            yield from walk_fields(entry, f"{prefix}{name}.{EACH}.")
        else:
            yield prefix + name, field


def needs_recipe(cls: type[Spec]) -> bool:
    """Whether a key that no flag gives must be there: that of a mapping's entries."""
    required = {name for name, field in cls.model_fields.items() if field.is_required()}
    paths = [key.split(".") for key, _ in walk_fields(cls)]
    return any(EACH in path and path[0] in required for path in paths)


@dataclass(frozen=True)
class Leaf:
    """A leaf field of a spec that is there.

    Args:
        path: its keys, with the names of mappings' entries.
        value: what the spec holds, or what a recipe gives.
    """

    path: tuple[str, ...]
    field: FieldInfo
    value: Any

    @property
    def key(self) -> str:
        """The dotted path."""
        return ".".join(self.path)


def leaves(
    spec: Any,
    cls: type[Section] | None = None,
    path: tuple[str, ...] = (),
) -> Iterator[Leaf]:
    """The leaves of a spec, or of values that are not one yet, in the order of `walk_fields`.

    Args:
        spec: the spec, or values; what is no mapping has no leaves with a value.
        cls: the class of such values.
    """
    cls = cls or type(spec)
    if isinstance(spec, str):
        spec = cls.as_keys(spec)
    for name, field in cls.model_fields.items():
        value = spec.get(name) if isinstance(spec, dict) else getattr(spec, name, None)
        section, entry = section_of(field.annotation), entries_of(field.annotation)
        if section:
            yield from leaves(value, section, (*path, name))
        elif entry:
            for each, inner in value.items() if isinstance(value, dict) else ():
                yield from leaves(inner, entry, (*path, name, str(each)))
        else:
            yield Leaf((*path, name), field, value)


def paths_with_role(
    spec: Spec | dict[str, Any], kind: str, cls: type[Spec] | None = None
) -> list[tuple[str, str]]:
    """The (key, value) pairs of a spec's fields of one role; a list field gives a pair an item.

    Args:
        spec: the spec, or values that are not one yet, because something is wrong with them.
        cls: the class of such values.
    """
    found: list[tuple[str, str]] = []
    for leaf in leaves(spec, cls):
        role = _role(leaf.field)
        if role is None or role.kind != kind:
            continue
        words = [word.name for word in role.words]
        for item in _items(leaf.value):
            if isinstance(item, str) and item not in words:
                found.append((leaf.key, item))
    return found


@dataclass(frozen=True)
class Input:
    """Something that a step reads.

    Args:
        key: the spec's key that asks for it, dotted.
        name: the path, the hub id or the word.
        reads: how it is read.
        word: what the name stands for where it is a word.
    """

    key: str
    name: str
    reads: Reads
    word: Word | None = None


def inputs_of(spec: Spec) -> list[Input]:
    """Everything that a step reads, in the order of the keys; of those that have an effect."""
    found: list[Input] = []
    effective = spec.model_dump(mode="json")
    for leaf in leaves(spec):
        role, key = _role(leaf.field), leaf.key
        if role is None or role.kind == "output" or not _holds(effective, leaf.path):
            continue
        if leaf.value is None:
            if role.unset is not None:
                found.append(Input(key, role.unset.name, role.reads, role.unset))
            continue
        words = {word.name: word for word in role.words}
        for item in _items(leaf.value):
            found.append(Input(key, item, role.reads, words.get(item)))
    return found


def without_inputs(spec: Spec) -> dict[str, Any]:
    """The spec's values as they are recorded, but for its output and those that name inputs."""
    values = spec.model_dump(mode="json")
    for leaf in leaves(spec):
        if _role(leaf.field) is not None and _holds(values, leaf.path):
            *sections, last = leaf.path
            place = values
            for section in sections:
                place = place[section]
            del place[last]
    return values


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _holds(values: Any, path: Sequence[str]) -> bool:
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True
