"""What this machine has hashed: a file's identity -> its SHA-256.

Only what was hashed here is believed. A record that comes with a download can claim any hash, and
an archive gives its files any size and time; but the time of a file's last change of any kind
(ctime) is the system's own, and no program sets it.

The cache is a text file of the user's, a line a file. Processes append to it at the same time,
each line in one write; a line that does not fit its own checksum is passed over. Deleting the file
costs one more hashing of what is asked for next.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SMALLEST = 1 << 20
"""Bytes of a file that is worth a line. Smaller ones are hashed each time, in milliseconds."""
MAX_BYTES = 4_000_000
"""Of the cache: some 25,000 files. When it is larger, the older half goes."""
_TICK = 50_000_000  # ns: two changes that are nearer than a system's clock tick have one time
_COARSE_TICK = 2_100_000_000  # the same for file systems that count in seconds, or in two of them


class Identity(NamedTuple):
    """What tells that a file is the same and has not been changed; times in ns since 1970."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Size and times. Some file systems over a network number a file anew now and then."""
        return self.size, self.modified, self.changed

    @property
    def version(self) -> tuple[int, int, int, int]:
        """All but the last: a further link to a file, or other rights to it, leave this alone."""
        return self.device, self.inode, self.size, self.modified

    @property
    def settles_in(self) -> float:
        """Seconds from now until a change would get another time than the last one has; at most a
        tick of the clock, also where a clock was set back."""
        tick = _COARSE_TICK if self.changed % 1_000_000_000 == 0 else _TICK
        return min(max(self.changed + tick - time.time_ns(), 0), tick) / 1e9

    @property
    def is_settled(self) -> bool:
        """Whether a change from now on would get another time than the last one has."""
        return self.settles_in == 0


def identity_of(found: os.stat_result) -> Identity:
    """The identity of a file, from what `stat` or `fstat` says."""
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class DigestCache:
    """The hashes of one cache file, and of this process.

    Args:
        path: the file; made when there is something to keep. None: this process alone remembers.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[Identity, str] = {}
        self._read = (0, 0)  # inode and size of the file when it was read

    def find(self, identity: Identity) -> str | None:
        """The SHA-256 of a file that was hashed on this machine and is still the same, or None."""
        if identity.size < SMALLEST:
            return None
        if identity not in self._known:
            self._load()
        return self._known.get(identity)

    def remember(self, identity: Identity, digest: str) -> None:
        """Keep what was hashed.

        Args:
            identity: of the file, when its content was read or written.
            digest: the SHA-256 of that content.
        """
        if identity.size < SMALLEST or self._known.get(identity) == digest:
            return
        self._known[identity] = digest
        if self._path is None:
            return
        # A cache that cannot be kept costs time and nothing else.
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                if not _is_own(os.fstat(descriptor)):
                    return
                os.write(descriptor, _line(identity, digest))
                full = os.fstat(descriptor).st_size > MAX_BYTES
            finally:
                os.close(descriptor)
            if full:
                self._halve(self._path)

    def _load(self) -> None:
        if self._path is None:
            return
        with suppress(OSError), self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            if self._read == (found.st_ino, found.st_size) or not _is_own(found):
                return
            self._read = (found.st_ino, found.st_size)
            for line in file.read(2 * MAX_BYTES).splitlines():
                entry = _parse(line)
                if entry is not None:
                    self._known.setdefault(*entry)

    def _halve(self, path: Path) -> None:
        lines = path.read_bytes()[-2 * MAX_BYTES :].splitlines(keepends=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(b"".join(lines[len(lines) // 2 :]))
            temporary.chmod(0o600)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def own_cache() -> DigestCache:
    """The user's: `digests` in `own_folder`."""
    folder = own_folder()
    return DigestCache(None if folder is None else folder / "digests")


def own_folder() -> Path | None:
    """The user's folder for what can be made again: `tfcli` in $XDG_CACHE_HOME, or in ~/.cache;
    None for a user without a home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The specification has it that a relative path does not count.
        home = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return home / "tfcli"


def _is_own(found: os.stat_result) -> bool:
    """Whether nobody else can have written a file."""
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not writable


def _line(identity: Identity, digest: str) -> bytes:
    text = " ".join([*map(str, identity), digest]).encode()
    return text + b" " + _check(text) + b"\n"


def _parse(line: bytes) -> tuple[Identity, str] | None:
    text, _, check = line.rpartition(b" ")
    if check != _check(text):
        return None
    *numbers, digest = text.decode("ascii").split(" ")
    return Identity(*map(int, numbers)), digest


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:12].encode()
