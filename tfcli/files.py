"""Files that are written whole or not at all, and names that stay inside their folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from tfcli.digest_cache import DigestCache, Identity, identity_of, own_cache
from tfcli.errors import WorkError
from tfcli.stand_ins import refuse_stand_in

_TRIES = 3  # readings of a file that is written to meanwhile
UNREAD = (".git", ".cache")
"""Folders that tools keep inside of others: nothing in them is read, copied or hashed."""
_MAX_NAME = 255  # bytes of a name in a folder, on Linux's file systems


def expanded(path: Path | str) -> Path:
    """A path as a user spells it, a leading `~` resolved where there is such a user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~name of nobody
        return Path(path)


def beside(path: Path) -> Path:
    """A free name beside a file, for what takes the file's name when it is whole."""
    # A process's number would not do: a container gives it again, after a kill too.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary file beside `path`, sync it, and rename it into place."""
    temporary = beside(path)
    try:
        with temporary.open("x", encoding="utf-8") as file:
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


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file, for files of which nobody vouches for the size.

    Raises:
        WorkError: missing, unreadable, no regular file, longer than `limit` bytes, or another file
            in its place.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise WorkError("is not a regular file", where=str(path))
        if found.st_size > limit:
            raise WorkError(
                f"has {found.st_size:,} bytes; {limit:,} at most are read",
                where=str(path),
                fix="it is not what its name says, or it is damaged; get it again",
            )
        with path.open("rb") as file:
            data = file.read(found.st_size)
    except FileNotFoundError:
        raise WorkError(f"there is no {path.name}", where=str(path.parent)) from None
    except OSError as error:
        raise WorkError(f"cannot be read: {error.strerror}", where=str(path)) from error
    refuse_stand_in(path, data)
    return data


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
    except OSError as error:
        # Some network file systems have no flushing of folders: there is nothing to wait for then.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not Path(path).is_dir():
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def digest_file(path: Path, *, anew: bool = False) -> str:
    """The SHA-256 of a file's bytes, in hex; see `read_digest`."""
    return read_digest(path, anew=anew)[1]


def read_digest(path: Path, *, anew: bool = False) -> tuple[Identity, str]:
    """What a regular file was when it was hashed, and the SHA-256 of its bytes, in hex.

    What this machine has hashed before is not read again while the file is the same.

    Args:
        path: the file.
        anew: read it in any case.

    Raises:
        WorkError: it is written to while it is read.
    """
    for _ in range(_TRIES):
        with path.open("rb") as file:
            before = identity_of(os.fstat(file.fileno()))
            known = None if anew else _digests().find(before)
            if known is not None:
                return before, known
            settled = before.is_settled
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = identity_of(os.fstat(file.fileno()))
        if before == after:
            # A write in the same tick of the clock as the last one would not show.
            if settled:
                _digests().remember(before, digest)
            return before, digest
    raise WorkError(
        "is written to while it is read", where=str(path), fix="run it again when that has ended"
    )


def git_digest(path: Path) -> str:
    """The hash that git, and so the hub, has for a small file's content, in hex."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def remember_digest(path: Path, digest: str) -> None:
    """Spare `digest_file` the reading of a file that this process has just written and hashed."""
    _digests().remember(identity_of(path.stat()), digest)


@cache
def _digests() -> DigestCache:
    return own_cache()


def inside(folder: Path, name: str) -> Path:
    """The path of `name` in `folder`, refused when it could lead outside of it.

    Raises:
        WorkError: `name` is absolute, holds `..`, or is a link that leaves the folder. A link into
            the hub cache's own blobs folder is allowed: that is how the cache stores snapshots.
    """
    pure = PurePosixPath(name)
    if any(len(os.fsencode(part)) > _MAX_NAME for part in pure.parts):
        raise WorkError(
            f"the file name {name[:40]!r}... is longer than a file's name can be",
            where=str(folder),
        )
    if not name or "\0" in name or "\\" in name or pure.is_absolute() or ".." in pure.parts:
        raise WorkError(
            f"the file name {name!r} leads outside its folder",
            where=str(folder),
            fix="get the checkpoint from a source you trust; file names must be plain",
        )
    if not set(UNREAD).isdisjoint(pure.parts):
        raise WorkError(
            f"the file name {name!r} leads into a folder that tools keep for themselves",
            where=str(folder),
            fix="get the checkpoint from a source you trust",
        )
    path = folder / pure
    try:
        real, home = path.resolve(), folder.resolve()
    except (OSError, RuntimeError):  # Python has no better word for a link that leads to itself
        raise WorkError(f"{name!r} is a link that leads nowhere", where=str(folder)) from None
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
