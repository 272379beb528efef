"""Compiles C++ into a library in the user's cache: once, whoever else tries at the same time.

A library is code that runs with the user's rights, so nobody else may have been able to write it:
its folder, and every folder above, belongs to the user or to root, and is not writable by others
(unless it is sticky, as /tmp is). A library's name is a hash of what it was made of.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TIMEOUT = 300.0
"""Seconds that a compiler may take, and that one process waits for another one's."""

COMPILERS = ("g++", "c++", "clang++")
"""Tried in this order, unless CXX names one."""

FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno")


class BuildError(Exception):
    """Why there is no library, in a sentence without a full stop."""


def compiler() -> list[str]:
    """The command that compiles C++: CXX, or the first of COMPILERS that is there.

    Raises:
        BuildError: there is none.
    """
    asked = shlex.split(os.environ.get("CXX", ""))
    for words in [asked] if asked else [[name] for name in COMPILERS]:
        path = shutil.which(words[0])
        if path is not None:
            return [path, *words[1:]]
    looked = f"CXX names {asked[0]}" if asked else f"looked for {', '.join(COMPILERS)}"
    raise BuildError(f"there is no C++ compiler ({looked})")


def own_folder() -> Path:
    """Where libraries are kept: `tfcli/kernels` in $XDG_CACHE_HOME, or in ~/.cache.

    Raises:
        BuildError: the user has no home.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The specification has it that a relative path does not count.
        home = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        raise BuildError("the user has no home folder for a cache") from None
    return home / "tfcli" / "kernels"


def target(sources: Sequence[Path], flags: Sequence[str], folder: Path | None = None) -> Path:
    """The path of the library of these sources, whether or not it is there.

    Args:
        sources: .cpp files; headers beside them count too.
        flags: beside FLAGS, such as the instructions that may be used.
        folder: where it is kept, in place of `own_folder`.

    Raises:
        BuildError: there is no compiler, or no place for it.
    """
    made_of = hashlib.sha256()
    command = compiler()
    found = Path(command[0]).resolve().stat()
    parts = [*command, str(found.st_size), str(found.st_mtime_ns), *FLAGS, *flags]
    headers = sorted({header for source in sources for header in source.parent.glob("*.h")})
    for part in [*parts, *(path.read_text() for path in [*sources, *headers])]:
        made_of.update(part.encode() + b"\0")
    return (folder or own_folder()) / f"{sources[0].stem}-{made_of.hexdigest()[:24]}.so"


def is_built(path: Path) -> bool:
    """Whether a library is there and nobody else can have written it.

    Raises:
        BuildError: it is there, and somebody else can have.
    """
    if not path.exists():
        return False
    _check_own(path)
    return True


def build(
    sources: Sequence[Path],
    flags: Sequence[str],
    folder: Path | None = None,
    *,
    timeout: float = TIMEOUT,
) -> Path:
    """Compile sources, unless that was done before, and return the path of the library.

    Raises:
        BuildError: it cannot be compiled or kept, or not within `timeout` seconds.
    """
    path = target(sources, flags, folder)
    if is_built(path):
        return path
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_own(path.parent)
        ends = time.monotonic() + timeout
        with (path.parent / "lock").open("w") as lock:
            _wait_for(lock.fileno(), ends)
            if not is_built(path):
                _compile(sources, flags, path, ends)
        _check_own(path)
    except OSError as error:
        raise BuildError(f"{path.parent} cannot be used: {error.strerror or error}") from error
    return path


def _wait_for(lock: int, ends: float) -> None:
    import fcntl

    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                raise BuildError("another process has been compiling for too long") from None
            time.sleep(0.05)
        else:
            return


def _compile(sources: Sequence[Path], flags: Sequence[str], path: Path, ends: float) -> None:
    """Each source by a compiler of its own, at the same time; then one library of them all."""
    made = [path.with_name(f".{path.stem}.{os.getpid()}.{source.stem}.o") for source in sources]
    whole = path.with_name(f".{path.stem}.{os.getpid()}.so")
    common = [*compiler(), *FLAGS, *flags]
    try:
        _run(
            [[*common, "-c", str(s), "-o", str(o)] for s, o in zip(sources, made, strict=True)],
            ends,
        )
        _run([[*common, *map(str, made), "-o", str(whole)]], ends)
        whole.chmod(0o700)
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.replace(path)
    finally:
        for left in (*made, whole):
            left.unlink(missing_ok=True)


def _run(commands: Sequence[Sequence[str]], ends: float) -> None:
    running = []
    try:
        for command in commands:
            running.append(_start(command))
        for process in running:
            try:
                _, said = process.communicate(timeout=max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise BuildError("the compiler took too long") from None
            if process.returncode != 0:
                raise BuildError(f"the compiler failed: {_reason(said)}")
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,  # what a compiler starts ends with it
        )
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be started: {error.strerror}") from error


def _reason(said: str) -> str:
    """The first line of a compiler's messages that names an error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it said nothing"])[0][:300]


def _check_own(path: Path) -> None:
    """See that only the user and root can write a file or folder, or put another in its place."""
    kept = (path, path.parent) if path.is_file() else (path,)
    for each in (path, *path.parents):
        found = each.lstat()
        if stat.S_ISLNK(found.st_mode):
            # Where a link leads is looked at instead; who may change the link is seen above it.
            _check_own(each.resolve())
            continue
        others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        # In a sticky folder others can add files, but not replace what is not theirs.
        sticky = each not in kept and found.st_mode & stat.S_ISVTX
        if found.st_uid not in (0, os.geteuid()) or (others and not sticky):
            raise BuildError(f"others can write {each}: nothing there is run (chmod go-w {each})")


def is_possible() -> bool:
    """Whether this system has what `build` needs."""
    return sys.platform == "linux"
