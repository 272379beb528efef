"""Files that are written whole or not at all, and names that stay inside their folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from tfcli.errors import WorkError


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary file beside `path`, sync it, and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file, or raise a WorkError that names the file and the place in it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkError("the file is missing", where=str(path)) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise WorkError(f"not readable as JSON: {error}", where=str(path)) from error


def sync_folder(folder: Path) -> None:
    """Flush every file below `folder` and the folders themselves to disk."""
    for root, _, names in os.walk(folder):
        for path in [os.path.join(root, name) for name in names] + [root]:  # noqa: PTH118
            sync_entry(path)


def sync_entry(path: Path | str) -> None:
    """Flush one file, or the names in one folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: Path, name: str) -> Path:
    """The path of `name` in `folder`, refused when it could lead outside of it.

    Raises:
        WorkError: `name` is absolute, holds `..`, or is a link that leaves the folder. A link into
            the hub cache's own blobs folder is allowed: that is how the cache stores snapshots.
    """
    pure = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or pure.is_absolute() or ".." in pure.parts:
        raise WorkError(
            f"the file name {name!r} leads outside its folder",
            where=str(folder),
            fix="get the checkpoint from a source you trust; file names must be plain",
        )
    path = folder / pure
    real, home = path.resolve(), folder.resolve()
    if not real.is_relative_to(home) and not _is_hub_blob(real, home):
        raise WorkError(
            f"{name!r} is a link to a place outside its folder",
            where=str(folder),
            fix="replace the link by the file itself",
        )
    return path


def _is_hub_blob(real: Path, folder: Path) -> bool:
    # huggingface_hub lays a snapshot out as <repo>/snapshots/<commit>/name -> <repo>/blobs/<hash>.
    if folder.parent.name != "snapshots":
        return False
    return real.is_relative_to(folder.parent.parent / "blobs")
