"""The file of a task: of a language model as lm-evaluation-harness has them, or of a head.

Every key that such a file may have is known: it is followed, it has no effect on the figures
(`tag`, decontamination), or it is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import yaml
from pydantic import ValidationError

from tfcli.errors import UsageError, hint
from tfcli.evaluate.heads.file import OUTPUTS, WITH_MEDIA, HeadFile
from tfcli.evaluate.tasks.keys import CommonKeys, TaskFile
from tfcli.recipe.document import parse_document, read_text_file

FUNCTION = "!function"
LOADERS = ("json", "csv", "parquet", "arrow")
"""`dataset_path` of local files, which `dataset_kwargs.data_files` names."""
OWN = "tfcli"
"""`dataset_path` of what is made here; `dataset_name` says what."""
_CODE = {
    "custom_dataset": "makes its data by code",
    "process_results": "judges answers by code",
    "use_prompt": "takes its prompt from promptsource",
    "doc_to_image": "shows pictures",
    "doc_to_audio": "plays recordings",
}
"""Keys that are refused -> what a task with them does."""
_GROUP = ("group", "aggregate_metric_list", "group_alias")
_OF_TEXTS = get_args(TaskFile.model_fields["output_type"].annotation)
K = TypeVar("K", bound=CommonKeys)


@dataclass(frozen=True)
class Task(Generic[K]):
    """A task and where its file lies, from which paths in it lead on."""

    file: K
    folder: Path

    @property
    def name(self) -> str:
        """Its name."""
        return self.file.task


class _Loader(yaml.SafeLoader):
    """YAML 1.1, which the harness reads; code of a `!function` is named and not imported."""


_Loader.add_constructor(FUNCTION, lambda loader, node: _Function(str(node.value)))


class _Function(str):
    """The name of a function in a file beside the task."""


def read_task(path: Path, within: tuple[Path, ...] = ()) -> list[Task[CommonKeys]]:
    """The task of a file, or those of a group's file.

    Args:
        path: of the file.
        within: the groups that lead to it.

    Raises:
        UsageError: no YAML, a key or a value that no task has, a task that needs code, or a group
            in itself.
    """
    values = _merged(_chain(path))
    if "group" not in values:
        return [_task(values, path)]
    here = path.resolve()
    if here in within:
        raise UsageError("a group has itself among its tasks", where=str(path))
    members = _members(values, path)
    return [task for each in members for task in read_task(each, (*within, here))]


def files_of_task(path: Path, within: tuple[Path, ...] = ()) -> Iterator[Path]:
    """What a task's file reads from beside it: what it includes, its group's files and its data.

    Files that are not there are left out; whoever reads the task says what is wrong.
    """
    here = path.resolve()
    try:
        files = _chain(path)
        values = _merged(files)
        members = _members(values, path) if "group" in values and here not in within else []
    except UsageError:
        return
    yield from list(files)[1:]
    for each in members:
        yield each
        yield from files_of_task(each, (*within, here))
    named = (values.get("dataset_kwargs") or {}).get("data_files")
    places = [beside(each, path.parent) for each in data_files(named)]
    yield from (place for place in places if place is not None)
    if values.get("output_type") in WITH_MEDIA:
        from tfcli.evaluate.heads.media import media_of_task

        try:
            task = _task(values, path)
        except UsageError:
            return
        if isinstance(task.file, HeadFile):
            yield from media_of_task(Task(task.file, task.folder))
    data = values.get("dataset_path")
    if data is not None and data not in (OWN, *LOADERS):
        place = path.parent / str(data)
        found = sorted(place.rglob("*")) if place.is_dir() else [place]
        yield from (each for each in found if each.is_file())


def data_files(given: Any) -> list[str]:
    """The names in `data_files`: a name, several, or several by split."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list):
        return [name for name in given if isinstance(name, str)]
    if isinstance(given, dict):
        return [name for each in given.values() for name in data_files(each)]
    return []


def beside(name: str, folder: Path) -> Path | None:
    """A file that a task names: beside the task, or from where the command runs."""
    return next((each for each in (folder / name, Path(name)) if each.is_file()), None)


def _members(values: dict[str, Any], path: Path) -> list[Path]:
    unknown = values.keys() - {*_GROUP, "task", "metadata", "tag", "include"}
    names = values.get("task")
    if unknown or not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise UsageError(
            "a group has the names of its tasks alone, `task: [first.yaml, second.yaml]`",
            where=str(path),
            fix=f"it also has {', '.join(sorted(unknown))}" if unknown else None,
        )
    found = []
    for name in names:
        place = next(
            (p for p in (path.parent / name, path.parent / f"{name}.yaml") if p.is_file()), None
        )
        if place is None:
            here = [each.stem for each in sorted(path.parent.glob("*.yaml"))]
            raise UsageError(
                f"the group's task {name!r} is not beside it", where=str(path), fix=hint(name, here)
            )
        found.append(place)
    return found


def _chain(path: Path) -> dict[Path, dict[str, Any]]:
    """A file, what it includes, and so on -> the keys of each."""
    found: dict[Path, dict[str, Any]] = {}
    while True:
        values = parse_document(read_text_file(path, "task"), str(path), _Loader).values
        if not isinstance(values, dict):
            raise UsageError("a task is a mapping of keys", where=str(path))
        included = values.pop("include", None)
        found[path] = values
        if included is None:
            return found
        place = path.parent / str(included)
        if not place.is_file():
            raise UsageError(f"it includes {included!r}, which is not there", where=str(path))
        if any(place.samefile(each) for each in found):
            raise UsageError("a task includes itself", where=str(path))
        path = place


def _merged(files: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """The keys of a file over those that it includes."""
    return {key: each for values in reversed(files.values()) for key, each in values.items()}


def _task(values: dict[str, Any], path: Path) -> Task[CommonKeys]:
    output = values.get("output_type")
    if output not in (None, *_OF_TEXTS, *OUTPUTS):
        raise UsageError(
            f"there is no output_type {output!r}",
            where=f"{path}: output_type",
            fix=hint(str(output), (*_OF_TEXTS, *OUTPUTS)),
            code="usage.wrong_value",
        )
    keys: type[CommonKeys] = HeadFile if output in OUTPUTS else TaskFile
    for key, value in values.items():
        if isinstance(value, _Function) or key in _CODE:
            does = _CODE.get(key, "has code of its own")
            name = f" ({value})" if isinstance(value, _Function) else ""
            raise UsageError(
                f"the task {does}{name}: code of a task's file is not run",
                where=f"{path}: {key}",
                fix="prepare the data so that templates suffice, or run it in the harness with "
                "--harness",
            )
        if key not in keys.model_fields:
            raise UsageError(
                f"a task has no key {key!r}",
                where=f"{path}: {key}",
                fix=hint(key, keys.model_fields),
            )
    values.setdefault("task", path.stem)
    values = {key: value for key, value in values.items() if value is not None}
    try:
        return Task(keys.model_validate(values), path.parent)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"{key}: {said}" if key else said,
            where=f"{path}: {key}" if key else str(path),
            code="usage.wrong_value",
        ) from error
