"""What a launcher such as torchrun may start: what several processes share the work of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfcli.commands.app import run
from tfcli.quantize.methods.registry import METHODS
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.verbs import VERBS

ROOT = Path(__file__).parents[2]


def test_training_calibration_and_evaluation_alone_are_shared_by_processes():
    shared = [name for name, verb in VERBS.items() if verb.spec().distributed]
    assert sorted(shared) == ["eval", "quantize", "train"]
    alone = [QuantizeSpec(model="m", output="o", method=m).works_alone() for m in METHODS]
    assert [m for m, why in zip(METHODS, alone, strict=True) if why is None] == [
        "gptq",
        "awq",
        "smoothquant",
    ]
    assert "quantize with method: rtn" in alone


def test_a_command_of_one_process_is_refused_in_each_that_torchrun_starts(text_file, tmp_path):
    """Otherwise every process would write the same output, or print the same result."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tfcli.commands", "data", str(text_file), str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "error: 2 processes were started together, and data works in one" in done.stderr
    assert "start it without torchrun" in done.stderr
    assert "exitcode  : 2" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "{model}"),
        ("diff", "{model}", "{model}"),
        ("generate", "{model}", "A line"),
        ("shard", "{model}", "{out}", "--shard-size", "20KB"),
        ("convert", "{model}", "{out}"),
        ("quantize", "{model}", "{out}", "--method", "rtn"),
    ],
    ids=lambda words: words[0],
)
def test_several_processes_are_refused_before_the_work(
    words, tiny_llama, text_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    places = {"model": tiny_llama, "text": text_file, "out": tmp_path / "out"}
    assert run([*(word.format(**places) for word in words), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["where"]) == ("usage.several_processes", "WORLD_SIZE")
    assert not list(tmp_path.iterdir())


def test_a_recipe_is_refused_before_its_training_if_a_later_step_works_in_one_process(
    tiny_llama, text_file, tmp_path, monkeypatch, capsys
):
    recipe = tmp_path / "recipe.json"
    train = {"command": "train", "model": str(tiny_llama), "data": str(text_file)}
    answer = {"command": "generate", "model": "${tuned}", "prompt": "A line"}
    steps = {"tuned": train | {"sequence_length": 16, "max_steps": 1}, "answer": answer}
    recipe.write_text(json.dumps({"output": str(tmp_path / "out"), "steps": steps}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert run(["run", str(recipe), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["step"]) == ("usage.several_processes", "answer")
    assert not (tmp_path / "out").exists()


@pytest.mark.nightly
def test_processes_share_the_steps_of_a_recipe_and_the_first_one_speaks(
    tiny_llama, text_file, tmp_path
):
    """What the others read next has its name by then."""
    train = {"command": "train", "model": str(tiny_llama), "data": str(text_file)}
    measure = {"command": "eval", "model": "${tuned}", "data": str(text_file), "window": 16}
    steps = {"tuned": train | {"sequence_length": 16, "max_steps": 1}, "loss": measure}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"output": str(tmp_path / "out"), "steps": steps}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tfcli.commands", "run", str(recipe), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    tuned, loss = json.loads(done.stdout)["steps"]
    assert tuned["result"]["processes"] == loss["result"]["processes"] == 2
    assert done.stderr.count("[2/2] loss") == 1
