"""Each error at each system call of an output's life: it is told, and nothing finished is lost."""

from __future__ import annotations

import errno

import pytest

from tests.faults.conftest import Scene
from tests.faults.preload import ERRORS, number
from tests.warm import Ended


def check(scene: Scene, ended: Ended) -> None:
    """What holds after an error, wherever it came."""
    whole = scene.whole()
    if ended.code == 0:
        assert whole["out"] == "new"
    else:
        assert ended.code in (1, 2) and "unexpected" not in ended.what, ended
        assert ended.where and ended.fix, ended
        told = [name for name, which in whole.items() if name in f"{ended.where} {ended.fix}"]
        assert whole.get("out") == "old" or told, (ended, whole)


def check_next(scene: Scene) -> None:
    """The next run ends as if nothing had been; what waits for its name is not made again."""
    waits = scene.waits_for_its_name()
    made = (scene.place.partial / "run.json").read_bytes() if waits else b""
    ended = scene.run(*([] if waits else ["--force"]))
    assert ended.code == 0, ended
    assert scene.whole() == {"out": "new"}
    assert scene.left() == []
    assert not waits or (scene.place.output / "run.json").read_bytes() == made


# EINVAL is also what a file system answers that cannot exchange names or flush folders.
@pytest.mark.parametrize(
    "error",
    ["ENOSPC", *(pytest.param(e, marks=pytest.mark.faults) for e in (*ERRORS[1:], "EINVAL"))],
)
def test_one_call_fails(scene: Scene, error: str) -> None:
    """Nothing hidden is left behind, but what waits for its name or to be deleted."""
    calls = failed = 0
    while True:
        scene.reset()
        calls += 1
        ended = scene.run("--force", fault=scene.fault(calls, action=number(error)))
        if not ended.reached:
            break
        check(scene, ended)
        left = scene.left()
        if ended.code:
            failed += 1
            assert not left or scene.waits_for_its_name() or scene.whole()["out"] == "new"
        elif left:
            assert "could not be deleted" in ended.said, ended
        check_next(scene)
    assert calls > 25 and failed > 15


@pytest.mark.faults
@pytest.mark.parametrize("lacks", [0, errno.EINVAL], ids=["exchange", "none"])
@pytest.mark.parametrize("error", ERRORS)
def test_every_call_fails_from_one_on(scene: Scene, error: str, lacks: int) -> None:
    """As on a disk that breaks, or that the system then mounts for reading alone."""
    calls = failed = 0
    while True:
        scene.reset()
        calls += 1
        fault = scene.fault(calls, action=number(error), lasting=True, lacks=lacks)
        ended = scene.run("--force", fault=fault)
        if not ended.reached:
            break
        check(scene, ended)
        failed += bool(ended.code)
        check_next(scene)
    assert calls > 25 and failed > 15


def test_a_thread_that_cannot_start_is_named_and_leaves_nothing(scene: Scene) -> None:
    """Hashes are made in one beside the work."""
    scene.reset()
    ended = scene.run("--force", fault=scene.fault(0, alone=True))
    assert (ended.code, ended.what) == (1, "the system starts no more threads"), ended
    assert "ulimit -u" in ended.fix
    assert scene.whole() == {"out": "old"} and scene.left() == []
