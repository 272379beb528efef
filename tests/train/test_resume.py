"""An interrupted run equals a straight one, bit for bit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfcli.console import Console
from tfcli.recipe.execute import execute
from tfcli.train.callbacks.metrics import MetricsFile
from tfcli.train.log import read_metrics
from tfcli.train.loop import Loop
from tfcli.train.spec import TrainSpec
from tfcli.train.validate import Validation

# Two epochs and a half, with all that draws random numbers.
LONG = {
    "max_steps": 45,
    "batch_size": 4,
    "checkpoint_every": 10,
    "validate_every": 7,
    "keep": "best",
    "bpe_dropout": 0.2,
    "optimizer": {"lr": 5e-3},
    "ema_decay": 0.9,
    "neftune_alpha": 5.0,
    "spike_factor": 100.0,
    "early_stopping": {"patience": 6},
    "samples": {"prompts": ["the cat"], "every": "25%", "max_new_tokens": 4},
    "tracking": {"trackers": ["tensorboard", "csv"]},
}
# A process that kills itself: after the metrics line of a step, or when a checkpoint has all of
# its files but not yet its name.
CHILD = """
import json, os, pathlib, signal, sys
import tfcli.train.checkpoint as checkpoint
from tfcli.train.callbacks.metrics import MetricsFile
from tfcli.console import Console
from tfcli.recipe.execute import execute
from tfcli.train.spec import TrainSpec

kind, step = sys.argv[2], int(sys.argv[3])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
write, sync = MetricsFile.finished, checkpoint.sync_folder

def write_and_die(self, figures, due):
    write(self, figures, due)
    if kind == "line" and figures["step"] == step:
        die()

def sync_and_die(folder):
    if kind == "checkpoint" and f"checkpoint-{step}." in folder.name:
        die()
    sync(folder)

MetricsFile.finished, checkpoint.sync_folder = write_and_die, sync_and_die
execute(TrainSpec.model_validate(json.loads(sys.argv[1])), Console.silent())
"""


def content(folder: Path) -> tuple[bytes, list[dict], str]:
    """The weights, the metrics but for the speed, and the samples."""
    lines = read_metrics(folder / "metrics.jsonl")
    for line in lines:
        del line["tokens_per_second"]
    weights = (folder / "model.safetensors").read_bytes()
    return weights, lines, (folder / "samples.jsonl").read_text()


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    names = ("train/loss", "train/learning_rate", "eval/loss")
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in names}


@pytest.fixture
def long_spec(make_spec, texts, tmp_path):
    def make(output: str) -> TrainSpec:
        config = {**make_spec().config, "attention_dropout": 0.1}
        validation = str(texts / "validation.jsonl")
        changes = {**LONG, "config": config, "validation": validation}
        return make_spec(output=str(tmp_path / output), **changes)

    return make


STRAIGHT: list = []


@pytest.fixture
def straight(long_spec, tmp_path):
    """The result and the content of a run that nothing interrupts, made once."""
    if not STRAIGHT:
        result = execute(long_spec("straight"), Console.silent()).result
        folder = tmp_path / "straight"
        STRAIGHT.extend([result, content(folder), shown(folder)])
    return STRAIGHT


@pytest.mark.parametrize(("kind", "step", "last"), [("line", 37, 30), ("checkpoint", 20, 10)])
def test_a_killed_run_ends_as_a_straight_one(long_spec, straight, tmp_path, kind, step, last):
    spec = long_spec("killed")
    values = json.dumps(spec.model_dump(mode="json"))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, values, kind, str(step)], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "killed").exists()
    resumed = execute(spec, Console.silent()).result
    whole, expected, seen = straight
    assert content(tmp_path / "killed") == expected
    assert len(seen["train/loss"]) == 45 and shown(tmp_path / "killed") == seen
    assert (resumed.resumed_from, whole.resumed_from) == (last, None)
    assert whole.epochs > 2
    same = {"tokens_per_second", "seconds", "resumed_from"}
    assert resumed.model_dump(exclude=same) == whole.model_dump(exclude=same)
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert not {name for name in left if "checkpoint" in name or "best" in name}


@pytest.mark.nightly
def test_a_run_that_is_killed_ten_times_ends_as_a_straight_one(long_spec, straight, tmp_path):
    """At moments that a clock names, whatever the run does then: a step, a validation, a save."""
    spec, chance = long_spec("killed"), random.Random(0)
    values = json.dumps(spec.model_dump(mode="json"))
    kills = 0
    while kills < 10:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, values, "none", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        metrics = tmp_path / ".killed.partial" / "metrics.jsonl"
        before = len(read_metrics(metrics))
        while child.poll() is None and len(read_metrics(metrics)) in (before, 0):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.25))
        child.kill()
        if child.wait() == 0:
            break
        kills += 1
    assert kills, "it ended before it could be killed once"
    execute(spec, Console.silent())
    assert content(tmp_path / "killed") == straight[1]


def test_ctrl_c_makes_a_checkpoint_after_the_step_and_says_what_comes_of_it(
    long_spec, straight, tmp_path, monkeypatch, capsys
):
    write = MetricsFile.finished

    def write_and_interrupt(self, figures, due):
        write(self, figures, due)
        if figures["step"] == 33:
            signal.raise_signal(signal.SIGINT)

    spec = long_spec("interrupted")
    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "finished", write_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(spec, Console())
    said = capsys.readouterr().err
    assert "stopping after this step; running it again goes on from there" in said
    resumed = execute(spec, Console.silent()).result
    assert resumed.resumed_from == 33
    assert content(tmp_path / "interrupted") == straight[1]


def test_a_validation_that_ctrl_c_cuts_short_is_made_up_for(long_spec, straight, tmp_path):
    """The signal comes while the validation after step 35 runs, the last of five."""
    spec = long_spec("cut")
    values, figures = [], Validation.figures

    def measure_and_interrupt(self, model, strategy, asked):
        if len(values) == 4:
            signal.raise_signal(signal.SIGINT)
        values.append(figures(self, model, strategy, asked))
        return values[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validation, "figures", measure_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(spec, Console.silent())
    assert values[-1] is None
    assert read_metrics(tmp_path / ".cut.partial/metrics.jsonl")[-1]["step"] == 34
    resumed = execute(spec, Console.silent()).result
    assert resumed.resumed_from == 35
    assert content(tmp_path / "cut") == straight[1]


def test_a_run_that_is_stopped_before_its_first_step_leaves_nothing(make_spec, tmp_path):
    def interrupt(self, step, batches, seconds):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "train_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(make_spec(output=str(tmp_path / "early")), Console.silent())
    assert not list(tmp_path.glob("*early*"))
