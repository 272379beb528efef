"""What an unfinished folder says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfcli.recipe.place import Mark, Place, identity, read_mark
from tfcli.recipe.record import STAGED

MARK = {"key": "k", "command": "train", "resumable": True, "replaces": None}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"key": "k"}',
        json.dumps(MARK | {"resumable": "yes"}),
        json.dumps(MARK | {"key": 1}),
        json.dumps(MARK | {"replaces": ["x"]}),
        json.dumps(MARK | {"command": "dance"}),
        json.dumps(MARK | {"command": []}),
        json.dumps(MARK | {"command": {"a": 1}}),
        json.dumps(MARK | {"more": 1}),
    ],
)
def test_a_mark_that_does_not_fit_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / STAGED).write_text(content)
    assert read_mark(tmp_path) is None


def test_a_mark_is_read_as_it_is_written(tmp_path: Path) -> None:
    mark = Mark("convert", None, False, "123")
    mark.write(tmp_path)
    assert read_mark(tmp_path) == mark


@pytest.mark.parametrize(
    ("spelt", "output"),
    [("out", "out"), ("a/out", "a/out"), ("none/../out", "{here}/out"), ("a/..", "{here}")],
)
def test_a_spelling_through_another_folder_is_the_folder_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelt: str, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(Place.of(spelt).output) == output.format(here=tmp_path)


def test_a_folder_without_a_record_is_no_artifact(tmp_path: Path) -> None:
    assert identity(tmp_path) is None
    (tmp_path / "run.json").write_text("damaged")
    assert identity(tmp_path) is not None
