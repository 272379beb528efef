"""An interrupted run equals a straight one, bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.recipe.execute import execute
from tfcli.train.log import MetricsLog, read_metrics
from tfcli.train.spec import TrainSpec

# Two epochs and a half, with all that draws random numbers.
LONG = {
    "steps": 60,
    "batch_size": 4,
    "checkpoint_every": 10,
    "validate_every": 7,
    "keep": "best",
    "bpe_dropout": 0.2,
    "optimizer": {"lr": 5e-3},
}
# A process that kills itself: after the metrics line of a step, or when a checkpoint has all of
# its files but not yet its name.
CHILD = """
import json, os, pathlib, signal, sys
import tfcli.train.checkpoint as checkpoint
from tfcli.train.log import MetricsLog
from tfcli.console import Console
from tfcli.recipe.execute import execute
from tfcli.train.spec import TrainSpec

kind, step = sys.argv[2], int(sys.argv[3])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
write, sync = MetricsLog.write, checkpoint.sync_folder

def write_and_die(self, values):
    write(self, values)
    if kind == "line" and values["step"] == step:
        die()

def sync_and_die(folder):
    if kind == "checkpoint" and f"checkpoint-{step}." in folder.name:
        die()
    sync(folder)

MetricsLog.write, checkpoint.sync_folder = write_and_die, sync_and_die
execute(TrainSpec.model_validate(json.loads(sys.argv[1])), Console.silent())
"""


def content(folder: str) -> tuple[bytes, list[dict]]:
    """The weights and the metrics but for the speed."""
    lines = read_metrics(Path(folder) / "metrics.jsonl")
    for line in lines:
        del line["tokens_per_second"]
    return (Path(folder) / "model.safetensors").read_bytes(), lines


@pytest.fixture
def long_spec(make_spec, texts, tmp_path):
    def make(output: str) -> TrainSpec:
        config = {**make_spec().config, "attention_dropout": 0.1}
        validation = str(texts / "validation.jsonl")
        changes = {**LONG, "config": config, "validation": validation}
        return make_spec(output=str(tmp_path / output), **changes)

    return make


@pytest.mark.parametrize(("kind", "step", "last"), [("line", 47, 40), ("checkpoint", 30, 20)])
def test_a_killed_run_ends_as_a_straight_one(long_spec, tmp_path, kind, step, last):
    spec = long_spec("killed")
    values = json.dumps(spec.model_dump(mode="json"))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, values, kind, str(step)], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "killed").exists()
    resumed = execute(spec, Console.silent()).result
    straight = execute(long_spec("straight"), Console.silent()).result
    assert content(tmp_path / "killed") == content(tmp_path / "straight")
    assert (resumed.resumed_from, straight.resumed_from) == (last, None)
    assert straight.epochs > 2
    same = {"tokens_per_second", "seconds", "resumed_from"}
    assert resumed.model_dump(exclude=same) == straight.model_dump(exclude=same)
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert not {name for name in left if "checkpoint" in name or "best" in name}


def test_ctrl_c_makes_a_checkpoint_between_two_steps(long_spec, tmp_path, monkeypatch):
    write = MetricsLog.write

    def write_and_interrupt(self, values):
        write(self, values)
        if values["step"] == 33:
            signal.raise_signal(signal.SIGINT)

    spec = long_spec("interrupted")
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(spec, Console.silent())
    resumed = execute(spec, Console.silent()).result
    assert resumed.resumed_from == 34
    execute(long_spec("straight"), Console.silent())
    assert content(tmp_path / "interrupted") == content(tmp_path / "straight")


def test_another_number_of_processes_is_refused_before_anything_is_trained(
    long_spec, tmp_path, monkeypatch
):
    spec = long_spec("ranks")

    def write_and_interrupt(self, values):
        if values["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(spec, Console.silent())
    monkeypatch.setattr(
        "accelerate.Accelerator.num_processes", property(lambda self: 2), raising=True
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="had 1 processes, this one has 2"):
        execute(spec, Console.silent())
