"""`tfcli diff` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoints.models import tiny
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """A model, and the same in bf16 with other ties."""
    save_model(tiny(), tmp_path / "a")
    assert run(["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--dtype", "bf16"]) == 0
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_the_furthest_comes_first(
    pair: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    capsys.readouterr()
    assert run(["diff", *pair, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "tfcli.diff/1"
    assert 0 < result["relative_difference"] < 2**-8
    assert "dtype" in {item["key"] for item in result["config"]}

    assert run(["diff", *pair]) == 0
    printed = capsys.readouterr().out
    assert "F32 -> BF16" in printed
    assert f"10 of {len(result['tensors'])}" in printed
    furthest = max(result["tensors"], key=lambda tensor: tensor["relative_difference"])["name"]
    names = [line.split()[0] for line in printed.splitlines() if "BF16" in line]
    assert names[0] == furthest
    assert len(names) == 10


def test_all_of_them_when_asked(pair: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", pair[0], pair[0], "-v"]) == 0
    printed = capsys.readouterr().out
    assert "Identical" in printed
    assert "model.norm.weight" in printed


def test_a_limit_for_scripts(pair: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", *pair, "--fail-above", "0.004"]) == 0
    assert run(["diff", *pair, "--fail-above", "1e-5"]) == 1
    assert "tensors differ by more than 1e-05" in capsys.readouterr().err
    assert run(["diff", *pair, "--fail-above", "-1"]) == 2
