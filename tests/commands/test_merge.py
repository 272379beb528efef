"""`tfcli merge` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.checkpoints.models import tiny
from tests.merge.adapters import by_hand
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.commands.app import run

Q = "model.layers.0.self_attn.q_proj"


def test_merge_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    save_model(tiny(dtype=torch.bfloat16), base)
    factors = {
        f"{Q}.lora_A.weight": torch.full((2, 32), 0.01),
        f"{Q}.lora_B.weight": torch.ones(32, 2),
    }
    adapter = by_hand(tmp_path / "adapter", factors)
    words = ["merge", str(base), str(adapter), str(out)]
    assert run([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "tfcli.merge/1"
    assert 0 < result["max_deviation"] < 2**-8
    assert run([*words, "-v"]) == 0
    printed = capsys.readouterr()
    assert "is up to date" in printed.err
    assert "2 tensors, all used" in printed.out
    assert "1 merged, 0 replaced" in printed.out
    assert "model.norm.weight" in printed.out
    load_model(out)


def test_an_adapter_of_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tiny(), tmp_path / "base")
    adapter = by_hand(
        tmp_path / "adapter",
        {"x.lora_A.weight": torch.ones(2, 2), "x.lora_B.weight": torch.ones(2, 2)},
    )
    assert run(["merge", str(tmp_path / "base"), str(adapter), str(tmp_path / "out")]) == 1
    assert "fit nothing in the base" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
