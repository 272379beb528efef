"""A library is compiled once, into a folder that nobody else can write to."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfcli.models.kernels import build
from tfcli.models.kernels.build import BuildError


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source" / "answer.cpp"
    path.parent.mkdir()
    path.write_text('extern "C" int answer() { return 42; }\n')
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def counting(tmp_path: Path) -> Path:
    """A compiler that writes a line for every run of it."""
    path = tmp_path / "counting"
    path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/runs\nexec {build.compiler()[0]} "$@"\n')
    path.chmod(0o700)
    return path


def answer(path: Path) -> int:
    return ctypes.CDLL(str(path)).answer()


def test_a_library_is_compiled_once_and_kept_for_the_user_alone(
    source, folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("CXX", str(counting(tmp_path)))
    path = build.build([source], [], folder)
    assert answer(path) == 42
    assert build.build([source], [], folder) == path
    assert len((tmp_path / "runs").read_text().splitlines()) == 2  # an object, and the library
    assert path.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700
    assert sorted(each.name for each in folder.iterdir()) == sorted([path.name, "lock"])


def test_another_source_header_flag_or_compiler_is_another_library(
    source, folder, tmp_path, monkeypatch
):
    paths = [build.target([source], [], folder), build.target([source], ["-mavx2"], folder)]
    (source.parent / "more.h").write_text("// more\n")
    paths.append(build.target([source], [], folder))
    source.write_text('extern "C" int answer() { return 43; }\n')
    paths.append(build.target([source], [], folder))
    monkeypatch.setenv("CXX", str(counting(tmp_path)))
    paths.append(build.target([source], [], folder))
    assert len(set(paths)) == 5


def test_processes_that_begin_together_compile_once(source, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", str(counting(tmp_path)))
    code = (
        "import sys; from pathlib import Path; from tfcli.models.kernels.build import build;"
        "print(build([Path(sys.argv[1])], [], Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(source), str(folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    paths = {process.communicate()[0].strip() for process in running}
    assert len(paths) == 1 and answer(Path(paths.pop())) == 42
    assert len((tmp_path / "runs").read_text().splitlines()) == 2


def test_without_a_compiler_it_says_what_it_looked_for(source, folder, monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler -O1")
    with pytest.raises(BuildError, match="CXX names /no/such/compiler"):
        build.build([source], [], folder)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(BuildError, match=r"looked for g\+\+"):
        build.build([source], [], folder)


def test_what_the_compiler_says_is_the_reason_and_nothing_is_left(source, folder):
    source.write_text('#error "no such instructions"\n')
    with pytest.raises(BuildError, match="no such instructions"):
        build.build([source], [], folder)
    assert [each.name for each in folder.iterdir()] == ["lock"]


def test_a_compiler_that_takes_too_long_is_ended_with_what_it_started(
    source, folder, tmp_path, monkeypatch
):
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {tmp_path}/child\nwait\n")
    slow.chmod(0o700)
    monkeypatch.setenv("CXX", str(slow))
    with pytest.raises(BuildError, match="took too long"):
        build.build([source], [], folder, timeout=1.0)
    child = int((tmp_path / "child").read_text())
    for _ in range(200):
        if not is_running(child):
            break
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_lock_that_is_not_given_back_is_not_waited_for_forever(source, folder):
    import fcntl

    folder.mkdir(mode=0o700)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match="another process"):
            build.build([source], [], folder, timeout=0.3)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_nothing_is_loaded_from_a_folder_that_others_can_write_to(source, folder, mode):
    path = build.build([source], [], folder)
    folder.chmod(mode)
    with pytest.raises(BuildError, match=f"others can write {folder}"):
        build.build([source], [], folder)
    folder.chmod(0o700)
    path.chmod(0o722)
    with pytest.raises(BuildError, match=f"others can write {path}"):
        build.build([source], [], folder)
    path.chmod(0o700)
    assert build.build([source], [], folder) == path


def test_nor_from_below_one(source, tmp_path):
    above = tmp_path / "above"
    folder = above / "tfcli" / "kernels"
    build.build([source], [], folder)
    above.chmod(0o777)
    with pytest.raises(BuildError, match=f"others can write {above}"):
        build.build([source], [], folder)
    above.chmod(0o1777)  # sticky: others cannot put another folder in the place of this one
    build.build([source], [], folder)


def test_nor_by_way_of_a_link_that_leads_to_one(source, folder, tmp_path):
    hostile = tmp_path / "hostile"
    hostile.mkdir(mode=0o700)
    hostile.chmod(0o777)
    folder.symlink_to(hostile)
    with pytest.raises(BuildError, match=f"others can write {hostile}"):
        build.build([source], [], folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nor_what_another_user_owns(source, folder):
    path = build.build([source], [], folder)
    os.chown(path, 12345, 12345)
    with pytest.raises(BuildError, match=f"others can write {path}"):
        build.build([source], [], folder)


def test_a_folder_that_cannot_be_made_is_a_reason(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="cannot be used"):
        build.build([source], [], tmp_path / "file" / "kernels")


def test_libraries_stand_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.own_folder() == tmp_path / "tfcli" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert build.own_folder() == tmp_path / "home" / ".cache" / "tfcli" / "kernels"
