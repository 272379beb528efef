"""Hashes are believed where this machine made them, and of a file that is still the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tfcli import digest_cache, files
from tfcli.digest_cache import SMALLEST, DigestCache, Identity, identity_of, own_cache
from tfcli.errors import WorkError
from tfcli.files import digest_file

CONTENT = b"weights " * (SMALLEST // 8)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is worth a line, written long enough ago, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "large"
    path.write_bytes(CONTENT)
    while not identity_of(path.stat()).is_settled:
        time.sleep(0.01)
    forget()
    return path


def forget() -> None:
    """As a new process begins."""
    files._digests.cache_clear()


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read to be hashed."""
    found: list[str] = []
    real = hashlib.file_digest

    def counted(file, name):
        found.append(Path(file.name).name)
        return real(file, name)

    monkeypatch.setattr(files.hashlib, "file_digest", counted)
    return found


def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache/tfcli/digests"


def test_a_file_is_read_once_by_all_processes_until_it_is_written_to(
    large: Path, readings: list[str]
) -> None:
    for _ in range(2):
        assert digest_file(large) == DIGEST
        forget()
    assert readings == ["large"]
    with large.open("r+b") as file:
        file.write(b"changed ")
    changed = hashlib.sha256(b"changed " + CONTENT[8:]).hexdigest()
    assert digest_file(large) == changed
    assert readings == ["large", "large"]


def test_size_and_time_put_back_do_not_hide_a_change(large: Path) -> None:
    assert digest_file(large) == DIGEST
    before = large.stat()
    large.write_bytes(b"changed " + CONTENT[8:])
    os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (large.stat().st_size, large.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert digest_file(large) != DIGEST


def test_a_full_check_reads_what_is_known(large: Path, readings: list[str]) -> None:
    digest_file(large)
    assert digest_file(large, anew=True) == DIGEST
    assert readings == ["large", "large"]


def test_small_files_are_read_each_time_and_leave_no_cache(
    large: Path, tmp_path: Path, readings: list[str]
) -> None:
    (tmp_path / "small").write_bytes(b"x")
    for _ in range(2):
        digest_file(tmp_path / "small")
    assert readings == ["small", "small"]
    assert not kept(tmp_path).exists()


def test_a_file_that_has_just_been_written_is_read_again(tmp_path: Path) -> None:
    # A second write within one tick of the clock would leave no trace.
    now = time.time_ns()

    def settled(changed: int) -> bool:
        return Identity(1, 2, SMALLEST, 0, changed).is_settled

    assert not settled(now)
    assert settled(now - 10**9 + 1)
    assert not settled((now // 10**9 - 1) * 10**9)  # a file system that counts in seconds
    assert Identity(1, 2, SMALLEST, 0, now + 10**12).settles_in < 0.1  # a clock was set back


def test_a_file_that_is_written_to_while_it_is_hashed_is_named(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hashlib.file_digest

    def disturbed(file, name):
        found = real(file, name)
        with large.open("ab") as more:
            more.write(b"x")
        return found

    monkeypatch.setattr(files.hashlib, "file_digest", disturbed)
    with pytest.raises(WorkError, match="written to while it is read") as caught:
        digest_file(large)
    assert caught.value.where == str(large)


def broken_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(DIGEST[:8].encode(), b"00000000"))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def no_text(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def of_everyone(path: Path) -> None:
    forged = DigestCache(path)
    path.unlink()
    forged.remember(identity_of((path.parents[2] / "large").stat()), "0" * 64)
    path.chmod(0o666)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [broken_line, cut_short, no_text, of_everyone, a_folder, gone])
def test_a_cache_that_cannot_be_believed_costs_a_reading(
    large: Path, tmp_path: Path, readings: list[str], damage: Callable[[Path], None]
) -> None:
    digest_file(large)
    forget()
    damage(kept(tmp_path))
    assert digest_file(large) == DIGEST
    assert readings == ["large", "large"]


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    assert digest_file(large) == DIGEST
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    forget()
    assert digest_file(large) == DIGEST
    assert (tmp_path / "home/.cache/tfcli/digests").stat().st_mode & 0o777 == 0o600


def test_many_processes_append_to_one_cache(tmp_path: Path) -> None:
    path = tmp_path / "digests"
    code = (
        "import sys; from pathlib import Path\n"
        "from tfcli.digest_cache import *\n"
        "cache = DigestCache(Path(sys.argv[1]))\n"
        "for n in range(300):\n"
        "    cache.remember(Identity(int(sys.argv[2]), n, SMALLEST, 1, 1), sys.argv[2] * 64)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(1, 4)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    read = DigestCache(path)
    for device in range(1, 4):
        for inode in range(300):
            assert read.find(Identity(device, inode, SMALLEST, 1, 1)) == str(device) * 64


def test_the_older_half_goes_when_the_cache_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_cache, "MAX_BYTES", 20_000)
    path = tmp_path / "digests"
    cache = DigestCache(path)
    files = [Identity(1, n, SMALLEST, 1, 1) for n in range(1000)]
    for identity in files:
        cache.remember(identity, DIGEST)
    assert path.stat().st_size <= 20_200
    read = DigestCache(path)
    assert read.find(files[-1]) == DIGEST
    assert read.find(files[0]) is None
    assert [p.name for p in tmp_path.iterdir()] == ["digests"]


def test_the_cache_is_the_users_own(monkeypatch: pytest.MonkeyPatch, large: Path) -> None:
    digest_file(large)
    cache = own_cache()
    assert cache.find(identity_of(large.stat())) == DIGEST
    monkeypatch.setattr(digest_cache.os, "geteuid", lambda: 12345)
    assert own_cache().find(identity_of(large.stat())) is None
