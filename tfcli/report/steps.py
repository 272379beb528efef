"""Reads the folders of finished steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.content import digest_input
from tfcli.recipe.record import RECORD, RunRecord, is_edited, read_record
from tfcli.recipe.spec import Result
from tfcli.recipe.verbs import VERBS

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Step:
    """One finished step.

    Args:
        folder: where it lies now.
        name: what the report calls it: the folder's name, longer when two would be the same.
        record: its run.json.
        result: its result, as the command's own result class.
    """

    folder: Path
    name: str
    record: RunRecord
    result: Result

    @property
    def command(self) -> str:
        """The command that made it."""
        return self.record["command"]

    @property
    def spec(self) -> dict[str, Any]:
        """Its resolved options."""
        return self.record["spec"]

    @property
    def digest(self) -> str:
        """The hash of what it holds, as later steps record it under `inputs`."""
        return digest_input(self.folder, "model")

    def value(self, kind: type[R]) -> R:
        """Its result, when the caller knows the class."""
        assert isinstance(self.result, kind)
        return self.result


def load_steps(folders: Sequence[str], where: str = "runs") -> list[Step]:
    """Read every folder's run.json and check its result against the command's result class.

    Args:
        folders: of finished steps.
        where: the key that names them, for errors.

    Raises:
        UsageError: a folder that no finished step made, named.
        WorkError: a run.json that cannot be read, that another version of tfcli wrote, or that
            was edited.
    """
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    names = _names(paths)
    return [_load(path, names[path], where) for path in paths]


def _load(folder: Path, name: str, key: str) -> Step:
    record = read_record(folder)
    where = str(folder / RECORD)
    if record is None:
        if (folder / RECORD).is_file():
            read_json(folder / RECORD)  # a broken file is told with its line
            raise WorkError("not a run record of this version of tfcli", where=where)
        raise UsageError(
            f"{folder} is not the folder of a finished step: it has no {RECORD}",
            where=key,
            fix="give the folders that tfcli commands wrote to --output",
        )
    verb = VERBS.get(record["command"])
    if verb is None:
        raise WorkError(f"unknown command {record['command']!r}", where=where)
    try:
        result = verb.result().model_validate(record["result"])
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in ("result", *problem["loc"]))
        raise WorkError(
            f"{field} does not fit: {problem['msg'].lower()}",
            where=where,
            fix="run that step again with this version of tfcli",
        ) from error
    if is_edited(record):
        raise WorkError(
            "something in it was changed after the step wrote it",
            where=where,
            fix="run that step again; a report shows only what was measured",
        )
    return Step(folder, name, record, result)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """The shortest ends of the paths that tell them apart."""
    names = {path: path.name for path in paths}
    for length in range(2, max((len(path.parts) for path in paths), default=1) + 1):
        count = Counter(names.values())
        clashing = [path for path, name in names.items() if count[name] > 1]
        for path in clashing:
            names[path] = Path(*path.parts[-length:]).as_posix()
    return names
