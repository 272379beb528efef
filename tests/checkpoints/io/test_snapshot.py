"""Files that change while they are read are named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tfcli.checkpoints.io.snapshot import Snapshot, is_source, sources_kept
from tfcli.errors import WorkError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, ns=(1, 1))
    return [tmp_path / "a", tmp_path / "b"]


def test_files_that_stay_as_they_are(files: list[Path]) -> None:
    before = Snapshot.of(iter(files))
    files[0].read_bytes()
    files[1].chmod(0o600)
    before.require_unchanged()
    before.require_unchanged()
    assert list(before.files) == files


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


def truncate(path: Path) -> None:
    """The time is set back: the size tells."""
    os.truncate(path, 50)
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    """Size and time are the same: the inode tells."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(1, 1))
    other.replace(path)


@pytest.mark.parametrize("change", [rewrite, truncate, replace, Path.unlink])
def test_a_change_is_named(files: list[Path], change: Callable[[Path], None]) -> None:
    before = Snapshot.of(files)
    change(files[1])
    with pytest.raises(WorkError, match="changed while it was read") as error:
        before.require_unchanged()
    assert error.value.where == str(files[1])
    assert error.value.fix is not None


def test_a_link_that_leads_elsewhere_afterwards(files: list[Path], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(files[0])
    before = Snapshot.of([link])
    link.unlink()
    link.symlink_to(files[1])
    with pytest.raises(WorkError, match="changed") as error:
        before.require_unchanged()
    assert error.value.where == str(link)


def test_a_file_that_is_missing_from_the_start(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="cannot be read") as error:
        Snapshot.of([tmp_path / "gone"])
    assert error.value.where == str(tmp_path / "gone")


def test_sources_are_looked_at_when_the_work_is_done(files: list[Path]) -> None:
    with pytest.raises(WorkError, match="changed") as error, sources_kept():
        is_source(iter(files))
        rewrite(files[1])
    assert error.value.where == str(files[1])


def test_a_change_is_the_reason_of_what_fails_because_of_it(files: list[Path]) -> None:
    with pytest.raises(WorkError, match="changed"), sources_kept():
        is_source(files)
        truncate(files[0])
        raise ValueError("the end is missing")
    with pytest.raises(ValueError, match="of another kind"), sources_kept():
        is_source(files)
        raise ValueError("of another kind")


def test_what_is_a_source_of_nothing_may_change(files: list[Path]) -> None:
    is_source(files)
    rewrite(files[0])
    with sources_kept():
        is_source(files)
        with sources_kept():
            is_source(files)
    rewrite(files[1])
