"""`tfcli dequantize` as a user runs it, after `tfcli quantize`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoints.models import LLAMA, tiny
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.commands.app import run


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense, packed, out = (str(tmp_path / name) for name in ("dense", "packed", "out"))
    save_model(tiny({**LLAMA, "intermediate_size": 64, "num_key_value_heads": 4}), Path(dense))
    words = ["quantize", dense, packed, "--bits", "8", "--method", "rtn", "--group-size", "32"]
    assert run(words) == 0
    capsys.readouterr()
    assert run(["dequantize", packed, out, "--dtype", "bf16", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "tfcli.dequantize/1"
    assert result["dequantized"] == 14
    assert run(["dequantize", packed, out, "--dtype", "bf16", "-v"]) == 0
    printed = capsys.readouterr()
    assert "is up to date" in printed.err
    assert "14 dequantized" in printed.out
    assert "model.norm.weight" in printed.out
    load_model(out)
    assert run(["diff", dense, out, "--fail-above", "0.02"]) == 0
    assert run(["dequantize", dense, str(tmp_path / "no")]) == 2
