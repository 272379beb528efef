"""SIGKILL at each system call of an output's life: the old artifact or the new one is whole."""

from __future__ import annotations

import errno

import pytest

from tests.faults.conftest import Scene

LACKS = [
    pytest.param(0, id="exchange"),
    pytest.param(errno.EINVAL, id="EINVAL", marks=pytest.mark.faults),
    pytest.param(errno.ENOSYS, id="ENOSYS", marks=pytest.mark.faults),
]
"""What a file system answers to an exchange of names."""


@pytest.mark.parametrize("lacks", LACKS)
def test_the_old_artifact_or_the_new_one_is_whole(scene: Scene, lacks: int) -> None:
    """With an exchange of names, under the name itself at every moment."""
    kills = finished = 0
    while True:
        scene.reset()
        if scene.run("--force", fault=scene.fault(kills + 1, lacks=lacks)).code is not None:
            break
        kills += 1
        whole = scene.whole()
        assert whole.get("out") in (("old", "new") if not lacks else ("old", "new", None))
        assert "old" in whole.values() or whole["out"] == "new"
        if scene.waits_for_its_name():
            made = (scene.place.partial / "run.json").read_bytes()
            assert scene.run().code == 0
            assert (scene.place.output / "run.json").read_bytes() == made, "it is not made again"
            finished += 1
        else:
            assert scene.run("--force").code == 0
        assert scene.whole() == {"out": "new"}
        assert scene.left() == []
    assert kills > 25 and finished >= 3


def test_a_first_artifact_is_whole_or_to_be_made(scene: Scene) -> None:
    kills = 0
    while True:
        scene.reset(old=False)
        if scene.run(fault=scene.fault(kills + 1)).code is not None:
            break
        kills += 1
        assert scene.whole().get("out") == ("new" if scene.place.output.exists() else None)
        assert scene.run().code == 0
        assert scene.whole() == {"out": "new"}
        assert scene.left() == []
    assert kills > 20


@pytest.mark.parametrize("lacks", LACKS[:2])
def test_a_run_of_other_options_after_a_kill_is_told_what_is_there(
    scene: Scene, lacks: int
) -> None:
    """It replaces nothing without --force, and then leaves nothing of what was killed."""
    kills = 0
    while True:
        scene.reset()
        if scene.run("--force", fault=scene.fault(kills + 1, lacks=lacks)).code is not None:
            break
        kills += 1
        before = scene.whole()
        ended = scene.run(source="other")
        assert ended.code == 2, ended
        assert "by another data run" in ended.what or str(scene.place.partial) in ended.what
        assert scene.whole().get("out") in ("old", "new")
        assert before.get("out") in (None, scene.whole()["out"])
        assert scene.run("--force", source="other").code == 0
        assert scene.whole() == {"out": "other"}
        assert scene.left() == []
    assert kills > 25
