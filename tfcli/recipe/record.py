"""run.json: what made an artifact, so that it can be repeated, trusted or skipped.

The key of a step is the hash of its verb, its resolved spec and the content of its inputs. Where a
file lies does not matter, and neither does where the output goes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tfcli
from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError, raise_found
from tfcli.files import digest_file
from tfcli.recipe.spec import Spec, paths_with_role

RECORD = "run.json"
SCHEMA = "tfcli.run/1"
PACKAGES = ("torch", "accelerate", "tokenizers", "safetensors", "numpy", "pydantic")


def read_record(folder: Path) -> dict[str, Any] | None:
    """The run record of a folder, or None when tfcli did not make the folder."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = read_json(path)
    except WorkError:
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def file_table(folder: Path, scratch: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Every file of an artifact: name -> size in bytes, time of last change (ns), SHA-256.

    A hash in the folder's record is taken over while the file's size and time are unchanged.

    Args:
        scratch: patterns of what lies in the folder and is no part of the artifact.
    """
    record = read_record(folder) or {}
    known = record.get("files", {})
    table: dict[str, dict[str, Any]] = {}
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if name.startswith(".") or relative == RECORD:
                continue
            if any(fnmatchcase(relative.partition("/")[0], pattern) for pattern in scratch):
                continue
            if not path.is_file():  # a pipe or a device has no end, a link may lead nowhere
                continue
            stat = path.stat()
            entry = {"bytes": stat.st_size, "changed": stat.st_mtime_ns}
            old = known.get(relative, {})
            same = all(old.get(part) == value for part, value in entry.items())
            table[relative] = {**entry, "sha256": old["sha256"] if same else digest_file(path)}
    return table


def is_intact(folder: Path, record: dict[str, Any]) -> bool:
    """Whether every file that the record lists is still there with the same content."""
    now = {name: entry["sha256"] for name, entry in file_table(folder).items()}
    return all(now.get(name) == entry["sha256"] for name, entry in record["files"].items())


def digest_input(path: Path) -> str:
    """The SHA-256 that stands for the content of a file or a folder."""
    if path.is_file():
        return digest_file(path)
    table = {name: entry["sha256"] for name, entry in file_table(path).items()}
    if not table and (path / RECORD).is_file():
        # A step that made no file, as eval: what it found is in its record alone.
        return digest_file(path / RECORD)
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


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
    inputs += [(key, value, _home(value)) for key, value in models if is_local(value)]
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


def _home(value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:  # ~name of nobody
        return Path(value)


def is_local(model: str) -> bool:
    """Whether a model can only be a path here: an id of the hub has one slash at most."""
    name = model.partition("@")[0]
    return model.startswith(("/", "./", "../", "~")) or (
        name.count("/") > 1 and not Path(name).suffix
    )


def step_key(spec: Spec, inputs: Mapping[str, str]) -> str:
    """The SHA-256 over the verb, the resolved spec and the inputs' content."""
    values = _replace(spec.model_dump(mode="json", exclude={"output"}), inputs)
    text = json.dumps([tfcli.__version__, spec.verb, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _replace(value: Any, digests: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replace(item, digests) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, digests) for item in value]
    return digests.get(value, value) if isinstance(value, str) else value


def make_record(
    spec: Spec,
    key: str,
    inputs: Mapping[str, str],
    folder: Path,
    result: dict[str, Any],
    started: datetime,
) -> dict[str, Any]:
    """The content of run.json for a step that is done."""
    ended = datetime.now(UTC)
    return {
        "schema": SCHEMA,
        "command": spec.verb,
        "key": key,
        "spec": spec.model_dump(mode="json"),
        "inputs": dict(inputs),
        "files": file_table(folder, spec.scratch),
        "result": result,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((ended - started).total_seconds(), 3),
        "versions": {
            "tfcli": tfcli.__version__,
            "python": platform.python_version(),
            **_packages(),
        },
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What a figure was measured on: processor, cores, memory, accelerator."""
    import psutil

    facts: dict[str, Any] = {
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


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
