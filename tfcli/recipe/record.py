"""run.json: what made an artifact, so that it can be repeated, trusted or skipped.

The key of a step is the hash of its verb, its resolved spec and the content of its inputs. Where a
file lies does not matter, and neither does where the output goes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic cannot read Python 3.11's own

import tfcli
from tfcli.checkpoints.strict_json import read_json
from tfcli.data.layout import here
from tfcli.errors import UsageError, WorkError, raise_found
from tfcli.files import digest_file, expanded, inside
from tfcli.hub import hub_ref
from tfcli.recipe.spec import Spec, inputs_of, paths_with_role, without_inputs

RECORD = "run.json"
STAGED = ".key.json"
"""The mark of a folder that is being made."""
COMPLETE = ".complete.json"
"""The same file's name in a folder that is whole, until nothing of its making is left to do."""
SCHEMA: Literal["tfcli.run/1"] = "tfcli.run/1"
CARD = "README.md"
CARD_SAYS = f"Each tensor, every version and the hashes of all files are in `{RECORD}`."
"""A sentence of the model card of every artifact that has one."""
_BEGINS = 1 << 16  # bytes
_BEGINNING = re.compile(rb'\s*\{\s*"schema"\s*:\s*"tfcli\.run/')
PACKAGES = ("torch", "accelerate", "tokenizers", "safetensors", "numpy", "pydantic")


class FileEntry(TypedDict):
    """A file of an artifact."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: str


class Machine(TypedDict):
    """What a figure was measured on."""

    system: str
    processor: str
    cores: int | None
    memory_bytes: int
    accelerator: NotRequired[str]


class RunRecord(TypedDict):
    """The content of run.json.

    Keys:
        schema: of this file.
        command: the verb.
        key: the hash of the step, see `step_key`.
        spec: the resolved spec.
        inputs: path, hub id or word -> the SHA-256 or the commit.
        files: name in the folder -> the file, of all that the step made.
        result: what the verb returned, with its own schema.
        started: ISO 8601, UTC.
        seconds: wall time.
        versions: package -> version.
        machine: what it was made on.
        seal: SHA-256 over all of the above.
    """

    schema: Literal["tfcli.run/1"]
    command: str
    key: str
    spec: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, FileEntry]
    result: dict[str, Any]
    started: str
    seconds: float
    versions: dict[str, str]
    machine: Machine
    seal: NotRequired[str]  # records of earlier versions have none


_RECORD = TypeAdapter(RunRecord)


def record_path(artifact: Path) -> Path:
    """Where the record of an artifact lies: in a folder, or hidden beside a single file."""
    if artifact.is_file():
        return artifact.with_name(f".{artifact.name}.{RECORD}")
    return artifact / RECORD


def read_record(artifact: Path) -> RunRecord | None:
    """The run record of a folder or a file, or None when it has none that can be read."""
    try:
        return _RECORD.validate_python(read_json(record_path(artifact)), strict=True)
    except (WorkError, ValidationError):
        return None


def is_ours(folder: Path) -> bool:
    """Whether tfcli made an artifact. A folder is also its own when its run record is damaged or of
    another version: it begins as one does, or lies beside a model card of tfcli's. A file is while
    it is as the record beside it says."""
    record = read_record(folder)
    if folder.is_file():
        return record is not None and is_intact(folder, record)
    if record is not None:
        return True
    begins = _begins(folder / RECORD)
    if begins is None:
        return False
    return bool(_BEGINNING.match(begins)) or CARD_SAYS.encode() in (_begins(folder / CARD) or b"")


def _begins(path: Path) -> bytes | None:
    """The first bytes of a regular file; None: there is none that can be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(_BEGINS)
    except OSError:
        return None


def is_edited(record: RunRecord) -> bool:
    """Whether something in a record, such as a figure, is not what the step wrote."""
    return "seal" in record and record["seal"] != _seal(record)


def _seal(record: RunRecord) -> str:
    text = json.dumps({k: v for k, v in record.items() if k != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_table(folder: Path, scratch: tuple[str, ...] = ()) -> dict[str, FileEntry]:
    """Every file of an artifact, hidden ones too: name -> size in bytes, SHA-256.

    Args:
        scratch: patterns of what lies in the folder and is no part of the artifact.
    """
    table: dict[str, FileEntry] = {}
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if relative in (RECORD, STAGED, COMPLETE):
                continue
            if any(fnmatchcase(relative.partition("/")[0], pattern) for pattern in scratch):
                continue
            if path.is_file():  # a pipe or a device has no end, a link may lead nowhere
                table[relative] = {"bytes": path.stat().st_size, "sha256": digest_file(path)}
    return table


def is_intact(artifact: Path, record: RunRecord, *, anew: bool = False) -> bool:
    """Whether a record, and every file that it lists, are as the step wrote them.

    Args:
        artifact: the folder of these files, or the one file that is listed.
        anew: read all files, also those that this machine has hashed before.
    """
    if record.get("seal") != _seal(record):
        return False
    folder = artifact.parent if artifact.is_file() else artifact
    return all(_is_intact(folder, name, entry, anew) for name, entry in record["files"].items())


def _is_intact(folder: Path, name: str, entry: FileEntry, anew: bool) -> bool:
    try:
        path = inside(folder, name)
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            return False
        return digest_file(path, anew=anew) == entry["sha256"]
    except (WorkError, OSError):
        return False


def check_inputs(spec: Spec, *, coming: tuple[str, ...] = ()) -> None:
    """Refuse a spec whose local inputs do not exist, before any work.

    Args:
        coming: folders that earlier steps of the same recipe will have made.

    Raises:
        UsageError: naming the key and the path.
    """
    raise_found(list(missing_inputs(spec, coming=coming)))


def missing_inputs(
    spec: Spec | dict[str, Any], *, coming: tuple[str, ...] = (), cls: type[Spec] | None = None
) -> Iterator[UsageError]:
    """An error for each local input that is not there, or may not be read.

    Args:
        spec: the spec, or values of the class `cls` that are not one yet.
        coming: folders that earlier steps of the same recipe will have made.
    """
    inputs = [(key, value, Path(value)) for key, value in paths_with_role(spec, "input", cls)]
    models = paths_with_role(spec, "model", cls)
    inputs += [(key, value, expanded(value)) for key, value in models if is_local(value)]
    for key, value in paths_with_role(spec, "data", cls):
        found = here(value)
        if found is not None or hub_ref(value, "dataset") is None or is_local(value):
            inputs.append((key, value, Path(value) if found is None else found.path))
    for key, value, path in inputs:
        if any(path.is_relative_to(folder) for folder in coming):
            continue
        if not path.exists():
            yield UsageError(
                f"there is no such file or folder: {value}", where=key, code="input.missing"
            )
        elif not os.access(path, os.R_OK):
            yield UsageError(
                f"not readable: {value}",
                where=key,
                fix="check its permissions",
                code="input.unreadable",
            )


def is_local(model: str) -> bool:
    """Whether a model can only be a path here: an id of the hub has one slash at most."""
    name = model.partition("@")[0]
    return model.startswith(("/", "./", "../", "~")) or (
        name.count("/") > 1 and not Path(name).suffix
    )


def step_key(spec: Spec, inputs: Mapping[str, str]) -> str:
    """The SHA-256 over the verb, the resolved spec and the inputs' content."""
    content = [[each.key, inputs[each.name]] for each in inputs_of(spec)]
    values = [tfcli.__version__, spec.verb, without_inputs(spec), content, _installed_families()]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _installed_families() -> list[str]:
    """The packages that bring families of models, with their versions."""
    from tfcli.models.registry import ENTRY_POINTS

    found = {point.dist for point in entry_points(group=ENTRY_POINTS) if point.dist}
    return sorted(f"{each.name} {each.version}" for each in found)


def make_record(
    spec: Spec,
    key: str,
    inputs: Mapping[str, str],
    folder: Path,
    result: dict[str, Any],
    started: datetime,
) -> RunRecord:
    """The content of run.json for a step that is done."""
    ended = datetime.now(UTC)
    record: RunRecord = {
        "schema": SCHEMA,
        "command": spec.verb,
        "key": key,
        "spec": spec.model_dump(mode="json"),
        "inputs": dict(inputs),
        "files": file_table(folder, spec.scratch),
        "result": result,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((ended - started).total_seconds(), 3),
        "versions": versions(),
        "machine": machine(),
    }
    # As it will be read: what JSON does not tell apart is one.
    record = json.loads(json.dumps(record))
    return {**record, "seal": _seal(record)}


def machine() -> Machine:
    """What a figure was measured on: processor, cores, memory, accelerator."""
    import psutil

    facts: Machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor()  # not Linux
    return platform.processor()


def versions() -> dict[str, str]:
    """The version of tfcli, of Python and of each package that decides what comes out."""
    found = {"tfcli": tfcli.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
