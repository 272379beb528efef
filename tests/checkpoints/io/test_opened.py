"""A file that is read piece by piece: of one version, or an error that names it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoints.changes import CHANGES, rewritten, truncated
from tfcli.checkpoints.io.growing import Growing
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.errors import WorkError

DATA = bytes(range(256)) * 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x"
    path.write_bytes(DATA)
    os.utime(path, ns=(1, 1))  # so that a change in the same tick of the clock is seen
    return path


def test_bytes_and_memory(path: Path) -> None:
    memory = bytearray(10)
    with OpenedFile(path).reading() as reader:
        assert reader.size == len(DATA)
        assert reader.bytes(250, 20) == DATA[250:270]
        assert reader.bytes(len(DATA) - 3, 20) == DATA[-3:]
        reader.into(300, memoryview(memory))
    assert memory == DATA[300:310]


def test_much_is_read_by_several_threads_each_byte_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "large"
    data = b"".join(number.to_bytes(4, "little") for number in range(5_000_000))
    path.write_bytes(data)
    memory = bytearray(len(data) - 7)
    with OpenedFile(path).reading() as reader:
        reader.into(7, memoryview(memory))
    assert memory == data[7:]
    with pytest.raises(WorkError, match="changed") as error, OpenedFile(path).reading() as reader:
        os.truncate(path, len(data) - 1)
        reader.into(7, memoryview(memory))
    assert error.value.where == str(path)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_opening_and_reading(path: Path, change: Callable[[Path], None]) -> None:
    file = OpenedFile(path)
    change(path)
    with pytest.raises(WorkError, match="changed while it was read") as error, file.reading():
        pytest.fail("it was read")
    assert error.value.where == str(path) and error.value.fix is not None


def test_another_file_never_takes_the_number_of_one_that_is_opened(tmp_path: Path) -> None:
    """Where numbers are given again, which is tried first."""
    path = tmp_path / "x"

    def replaced() -> bool:
        """Puts a file of the same size and time there; whether it has the same number."""
        before = path.stat().st_ino
        path.unlink()
        path.write_bytes(bytes(len(DATA)))
        os.utime(path, ns=(1, 1))
        return path.stat().st_ino == before

    path.write_bytes(DATA)
    if not any(replaced() for _ in range(20)):
        pytest.skip("this file system gives no number again")
    for _ in range(20):
        file = OpenedFile(path)
        assert not replaced()
        with pytest.raises(WorkError, match="changed while it was read"), file.reading():
            pytest.fail("it was read")
    del file
    assert str(path) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("change", [rewritten, truncated])
def test_a_change_between_two_reads(path: Path, change: Callable[[Path], None]) -> None:
    with pytest.raises(WorkError, match="changed") as error, OpenedFile(path).reading() as reader:
        reader.bytes(0, 10)
        change(path)
        reader.bytes(10, 10)
    assert error.value.where == str(path)


def test_a_cut_is_the_reason_of_what_fails_because_of_it(path: Path) -> None:
    with pytest.raises(WorkError, match="changed"), OpenedFile(path).reading() as reader:
        os.truncate(path, 100)
        reader.into(0, memoryview(bytearray(200)))
    path.write_bytes(DATA)
    with pytest.raises(WorkError, match="changed"), OpenedFile(path).reading() as reader:
        os.truncate(path, 100)
        raise ValueError("the end is missing")


def test_what_fails_elsewhere_meanwhile_is_no_fault_of_the_file(path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError) as error, OpenedFile(path).reading():
        raise full
    assert error.value is full


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, says in (("gone", "missing"), (".", "not a file"), ("pipe", "not a file")):
        with pytest.raises(WorkError, match=says) as error:
            OpenedFile(tmp_path / name)
        assert error.value.where == str(tmp_path / name)


def test_no_more_is_held_than_was_needed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(DATA)
        file.truncate(100 << 20)
    with OpenedFile(path).reading() as reader:
        whole, part = Growing(reader), Growing(reader, start=300, size=50)
        whole.need(10)
        assert whole.held.startswith(DATA) and len(whole.held) < 2 << 20
        part.need(1000)
        assert (bytes(part.held), part.size) == (DATA[300:350], 50)
        whole.need(101 << 20)
        assert len(whole.held) == whole.size == 100 << 20
