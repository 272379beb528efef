"""`tfcli shard` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoints.models import tiny
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, back = (str(tmp_path / name) for name in ("in", "out", "back"))
    save_model(tiny(), Path(source))
    words = ["shard", source, out, "--shard-size", "20KB"]
    assert run([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "tfcli.shard/1"
    assert run([*words, "-v"]) == 0
    printed = capsys.readouterr()
    assert "is up to date" in printed.err
    assert f"1 -> {len(result['files'])} (safetensors)" in printed.out
    assert run(["shard", out, back, "--shard-size", "1TB"]) == 0
    assert run(["diff", source, back, "--fail-above", "0"]) == 0
    assert run(["shard", source, str(tmp_path / "no")]) == 2
    assert "shard_size" in capsys.readouterr().err
