"""`tfcli convert` and `tfcli inspect` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoints.models import tiny
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.safetensors import SafetensorsFile
from tfcli.commands.app import run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_model(tiny(), folder)
    return folder


def test_convert_writes_a_folder_and_says_what_became_of_the_tensors(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["convert", str(model), str(out), "--dtype", "bf16", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "tfcli.convert/1"
    assert result["converted"] == result["verified"] == len(result["tensors"])
    assert {i.dtype for i in SafetensorsFile(out / "model.safetensors").tensors.values()} == {
        "BF16"
    }
    assert json.loads((out / "run.json").read_text())["result"] == result

    assert run(["convert", str(model), str(out), "--dtype", "bf16"]) == 0
    printed = capsys.readouterr()
    assert "is up to date" in printed.err
    assert f"{result['converted']} converted" in printed.out


def test_convert_lists_every_tensor_when_asked(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["convert", str(model), str(tmp_path / "out"), "-v"]) == 0
    assert "model.layers.1.mlp.down_proj.weight" in capsys.readouterr().out


def test_a_failed_convert_leaves_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert run(["convert", str(model), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "data_offsets" in error
    assert str(weights) in error
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    "options", [["--dtype", "int4"], ["--max-shard-size", "5XB"], ["--max-shard-sise", "1GB"]]
)
def test_wrong_options_end_with_2(
    model: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["convert", str(model), str(tmp_path / "out"), *options]) == 2
    assert "max" in capsys.readouterr().err or options[0] == "--dtype"
    assert not (tmp_path / "out").exists()


def test_inspect_prints_the_facts(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(model)]) == 0
    printed = capsys.readouterr().out
    for fact in ("llama (LlamaForCausalLM)", "causal-lm", "to train", "model.embed_tokens.weight"):
        assert fact in printed
    assert "model.norm.weight" not in printed
    assert run(["inspect", str(model), "-v"]) == 0
    assert "model.norm.weight" in capsys.readouterr().out


def test_inspect_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(model), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "tfcli.inspect/1"
    for key in ("model_type", "parameters", "bytes", "dtypes", "tensors", "quantization"):
        assert key in result
    assert sum(result["dtypes"].values()) == result["parameters"]


def test_inspect_of_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tmp_path / "gone")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
