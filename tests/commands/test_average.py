"""`tfcli average` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoints.models import tiny
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    for name in "ab":
        save_model(tiny(), tmp_path / name)
    return [str(tmp_path / name) for name in "ab"]


def test_words_weights_and_facts(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert run(["average", *pair, out, "--weights", "0.75,0.25", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "tfcli.average/1"
    assert result["shares"] == [0.75, 0.25]
    assert run(["average", *pair, out, "--weights", "0.75,0.25", "-v"]) == 0
    printed = capsys.readouterr()
    assert "is up to date" in printed.err
    assert "linear, 0.75 + 0.25" in printed.out
    assert "model.norm.weight" in printed.out


def test_the_arc(pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["average", *pair, str(tmp_path / "out"), "--method", "slerp"]) == 0
    assert "degrees between the sources" in capsys.readouterr().out


def test_weights_without_commas(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["average", *pair, str(tmp_path / "out"), "--weights", "0.5", "0.5"]) == 2
    assert "separate them with commas" in capsys.readouterr().err
