"""`tfcli compose` as a user runs it, and what other commands make of its output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compose.conftest import save_clip
from tfcli.commands.app import run


@pytest.fixture
def recipe(llama: Path, clip: Path, tmp_path: Path) -> Path:
    audio = {"model": str(clip), "projector": "mlp", "token": "<other>"}
    model = {"language_model": str(llama), "encoders": {"vision": str(clip), "other": audio}}
    path = tmp_path / "talk.yaml"
    path.write_text(
        yaml.safe_dump({"command": "compose", "model": model, "seed": 3}, sort_keys=False)
    )
    return path


def answer(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    assert run([*map(str, words), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_recipe_and_where_to(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    result = answer(capsys, "compose", recipe, out)
    assert result["schema"] == "tfcli.compose/1" and result["new"] == 6
    assert run(["compose", str(recipe), str(out), "-v"]) == 0
    printed = capsys.readouterr()
    assert "is up to date" in printed.err
    said = " ".join(printed.out.split())
    assert "<image> (320, added to the tokenizer) stands for 5 features" in said
    assert "projector" in said and "lm_head.weight" in said


def test_a_dry_run_writes_nothing(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["compose", str(recipe), "-o", str(out), "--dry-run"]) == 0
    assert "Would compose" in capsys.readouterr().out
    assert not out.exists()


def test_what_an_encoder_is_counts_for_what_is_done_already(recipe, tmp_path, capsys):
    """Nested inputs are in the key of the step: by their content, and by their settings."""
    content = yaml.safe_load(recipe.read_text())
    content["model"]["encoders"] = {"vision": str(save_clip(tmp_path / "clip", 5))}
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    out = tmp_path / "out"
    answer(capsys, "compose", recipe, out)
    record = json.loads((out / "run.json").read_text())
    assert str(tmp_path / "clip") in record["inputs"] and len(record["inputs"]) == 2
    (tmp_path / "clip").rename(tmp_path / "moved")
    content["model"]["encoders"] = {"vision": str(tmp_path / "moved")}
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    assert run(["compose", str(recipe), str(out)]) == 0
    assert "is up to date" in capsys.readouterr().err
    save_clip(tmp_path / "moved", 6)
    error = answer(capsys, "compose", recipe, out, code=2)["error"]
    assert error["code"] == "output.other_run"
    error = answer(
        capsys, "compose", recipe, out, "--set", "model.encoders.vision=nowhere/at/all", code=2
    )["error"]
    assert (error["code"], error["where"]) == ("input.missing", "model.encoders.vision.model")


def test_flags_and_set_reach_into_the_model(recipe, llama, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--language-model", llama, "--set", "model.encoders.other.token=<more>"]
    result = answer(capsys, "compose", recipe, out, *words)
    assert [each["token"] for each in result["encoders"]] == ["<image>", "<more>"]


def test_a_step_of_a_recipe(recipe, tmp_path, capsys):
    step = yaml.safe_load(recipe.read_text())
    small = {"command": "convert", "source": "${talk}", "dtype": "bfloat16"}
    steps = {
        "name": "two",
        "output": str(tmp_path / "runs"),
        "steps": {"talk": step, "small": small},
    }
    recipe.write_text(yaml.safe_dump(steps, sort_keys=False))
    answer(capsys, "run", recipe)
    assert (tmp_path / "runs/small/processor_config.json").is_file()


def test_inspect_says_what_it_is(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    answer(capsys, "compose", recipe, out)
    found = answer(capsys, "inspect", out)
    assert (found["model_type"], found["task"]) == ("multimodal", "image-text-to-text")
    assert found["problem"] is None and found["tokenizer"]["vocab_size"] == 322
    assert run(["inspect", str(out)]) == 0
    assert "MultimodalForConditionalGeneration" in capsys.readouterr().out
