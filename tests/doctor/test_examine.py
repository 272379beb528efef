"""doctor tries every part in a process of its own, so no check can take it down."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tfcli.console import Console
from tfcli.doctor.checks import CHECKS, Check
from tfcli.doctor.examine import examine
from tfcli.doctor.probe import probe

BAD = """
import ctypes, os, sys, time
from tfcli.errors import WorkError

def works(): return "fine"
def talks():
    print("noise on stdout")
    return "talked"
def raises(): raise ValueError("first line\\nsecond line")
def advises(): raise WorkError("no compiler", fix="apt install g++")
def leaves(): sys.exit(3)
def vanishes(): os._exit(0)
def says_and_vanishes():
    print("libmagic is too old", file=sys.stderr, flush=True)
    os._exit(7)
def segfaults(): ctypes.string_at(0)
def hangs():
    time.sleep(600)
def gives_an_object(): return object()
"""


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "bad_checks.py").write_text(BAD)
    monkeypatch.syspath_prepend(tmp_path)
    return "bad_checks:"


def check(name: str, reference: str, **more: object) -> Check:
    fields = {"needed_for": "the test", "fix": f"fix {name}", "seconds": 60.0, **more}
    return Check(name=name, function=reference + name, **fields)  # type: ignore[arg-type]


def test_a_check_that_fails_in_any_way_is_broken_and_the_others_still_run(bad: str) -> None:
    names = ["raises", "leaves", "vanishes", "says_and_vanishes", "segfaults", "not_there", "talks"]
    table = [check(name, bad) for name in names]
    table.insert(3, check("hangs", bad, seconds=1.0))
    result = examine(Console.silent(), [*table, check("works", bad)])
    found = {part.name: part for part in result.parts}
    assert [part.name for part in result.parts][-1] == "works"
    assert found["works"].state == found["talks"].state == "ok"
    assert found["works"].detail == "fine" and found["works"].fix is None
    broken = {name: part.detail for name, part in found.items() if part.state == "broken"}
    assert broken["raises"] == "ValueError: first line"
    assert broken["leaves"] == "SystemExit: 3"
    assert broken["vanishes"] == "exited with code 0"
    assert broken["says_and_vanishes"] == "exited with code 7: libmagic is too old"
    assert broken["segfaults"] == "killed by SIGSEGV"
    assert broken["hangs"] == "no answer after 1 s"
    assert broken["not_there"].startswith("AttributeError")
    assert all(found[name].fix == f"fix {name}" for name in broken)
    assert not result.ok


def test_a_check_may_name_a_better_way_out(bad: str) -> None:
    (part,) = examine(Console.silent(), [check("advises", bad)]).parts
    assert (part.detail, part.fix) == ("no compiler", "apt install g++")


def test_a_package_that_is_not_there_is_missing_not_broken(bad: str) -> None:
    table = [check("works", bad, package="no_such_package_at_all"), check("talks", bad)]
    result = examine(Console.silent(), table)
    assert [part.state for part in result.parts] == ["missing", "ok"]
    assert result.parts[0].fix == "fix works" and not result.ok


def test_an_optional_part_does_not_make_the_machine_unfit(bad: str) -> None:
    result = examine(Console.silent(), [check("raises", bad, required=False), check("works", bad)])
    assert result.ok and result.parts[0].state == "broken"


def test_a_hung_check_leaves_no_process_behind(bad: str, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    (tmp_path / "forks.py").write_text(
        "import pathlib, subprocess, time\n"
        "def run():\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        f"    pathlib.Path({str(marker)!r}).write_text(str(child.pid))\n"
        "    time.sleep(600)\n"
    )
    (answer,) = probe([("forks:run", 5.0)])
    assert answer.error == "no answer after 5 s"
    # On a busy machine a killed process dies when it is next given a core.
    for _ in range(600):
        if gone(marker.read_text()):
            break
        time.sleep(0.1)
    assert gone(marker.read_text())


def gone(pid: str) -> bool:
    """Whether a process has ended, or waits only to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_a_file_in_the_users_folder_does_not_stand_in_for_a_package(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "tokenizers.py").write_text("raise SystemExit('the wrong file')")
    monkeypatch.chdir(here)
    (answer,) = probe([("tfcli.doctor.checks:tokenizers", 120.0)])
    assert answer.error is None


def test_a_hub_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", "/dev/null/cache")
    (answer,) = probe([("tfcli.doctor.checks:hub_cache", 60.0)])
    assert answer.error is not None and "/dev/null" in answer.error


def test_every_optional_part_is_an_extra_that_the_fix_installs() -> None:
    extras = {check.name: check.fix for check in CHECKS if "tfcli[" in check.fix}
    assert extras == {
        "bitsandbytes": "pip install 'tfcli[bnb]'",
        "datasets": "pip install 'tfcli[data]'",
        "executorch": "pip install 'tfcli[executorch]'",
        "gguf": "pip install 'tfcli[gguf]'",
        "onnx": "pip install 'tfcli[onnx]'",
    }
    assert all(not check.required for check in CHECKS if check.name in extras)
