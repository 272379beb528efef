"""Two commands on one output, one stopped at each system call while the other runs to each of its
own: nothing finished is lost, and neither undoes what the other does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Scene, load
from tests.faults.preload import STOP
from tests.faults.test_kills import LACKS
from tests.warm import Ended

ALLOWED = ("another tfcli process", "cannot take its name", "by another data run")
"""What a command may be told that the other is in the way of."""


@pytest.fixture(scope="module")
def scenes(home: Path, library: Path) -> Iterator[tuple[Scene, Scene]]:
    """The same scene twice, each with a process of its own."""
    yield from zip(load(home, library), load(home, library), strict=True)


def start(scene: Scene, source: str, at: int, *flags: str, lacks: int) -> int | None:
    """Begin a command that stops before its n-th call; gives its id, or None if it has ended."""
    fault = scene.fault(at, action=STOP, lacks=lacks)
    pid = scene.process.start(*scene.command(source, *flags), fault=fault.as_job())
    while True:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in "TZ":
            return pid if state == "T" else None
        time.sleep(0.001)


def go_on(scene: Scene, pid: int | None) -> Ended:
    if pid is not None:
        os.kill(pid, signal.SIGCONT)
    return scene.process.wait()


def check(scene: Scene, first: Ended, second: Ended) -> None:
    """Each command has made its artifact or says what is in its way, and one that has is there."""
    for ended in (first, second):
        assert ended.code == 0 or any(said in ended.what for said in ALLOWED), ended
    whole = scene.whole()
    assert whole.get("out") in ("old", "new", "other"), (whole, first, second)
    assert first.code == 0 or second.code == 0
    assert whole["out"] != "old"


def check_next(scene: Scene) -> None:
    assert scene.run("--force").code == 0
    assert scene.whole() == {"out": "new"}
    assert scene.left() == []


def calls_of(scene: Scene, lacks: int) -> int:
    """How many calls the command makes."""
    count = 1
    while True:
        scene.reset()
        pid = start(scene, "new", count, "--force", lacks=lacks)
        assert go_on(scene, pid).code == 0
        if pid is None:
            return count - 1
        count += 1


@pytest.mark.parametrize("lacks", LACKS[:2])
def test_one_runs_while_the_other_is_stopped(scenes: tuple[Scene, Scene], lacks: int) -> None:
    """Another work, and the same one, at each call."""
    one, two = scenes
    for at in range(1, calls_of(one, lacks) + 1):
        for source, flags in (("other", ["--force"]), ("new", [])):
            one.reset()
            first = start(one, "new", at, "--force", lacks=lacks)
            second = two.run(*flags, source=source, fault=two.fault(0, lacks=lacks))
            check(one, go_on(one, first), second)
            check_next(one)


@pytest.mark.faults
@pytest.mark.parametrize("lacks", LACKS[:2])
def test_each_is_stopped_at_each_call(scenes: tuple[Scene, Scene], lacks: int) -> None:
    one, two = scenes
    for at in range(1, calls_of(one, lacks) + 1):
        then = 0
        second: int | None = 0
        while second is not None:
            then += 1
            one.reset()
            first = start(one, "new", at, "--force", lacks=lacks)
            second = start(two, "other", then, "--force", lacks=lacks)
            ended = go_on(one, first)
            check(one, ended, go_on(two, second))
            check_next(one)
