"""Several processes on one machine, as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tfcli.errors import UsageError
from tfcli.recipe.job import Job
from tfcli.train.assemble import _passes
from tfcli.train.callbacks.samples import FILE as SAMPLES
from tfcli.train.checkpoint import Progress
from tfcli.train.run import run

CHILD = """
import json, os, pathlib, sys, torch
from tfcli.errors import UsageError
from tfcli.process_group import Processes
from tfcli.recipe.job import Job
from tfcli.train.assemble import _passes
from tfcli.train.checkpoint import Progress
from tfcli.train.loop import Loop
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

seen, train_step = [], Loop.train_step

def note(self, step, batches, seconds):
    local = [getattr(p, "to_local", lambda: p)().numel() for p in self.model.parameters()]
    group = torch.distributed if torch.distributed.is_initialized() else None
    seen.append([type(self.wrapped).__name__, group and group.get_backend(),
                 group and group.get_world_size(), sum(len(b["targets"]) for b in batches),
                 sum(local)])
    return train_step(self, step, batches, seconds)

Loop.train_step = note
spec = TrainSpec.model_validate(json.loads(sys.argv[1]))
stop = int(sys.argv[4]) if len(sys.argv) > 4 else None
if stop:  # as if every process were killed when the checkpoint after this step is there
    from tfcli.train.checkpoint import Checkpoints
    save = Checkpoints.save
    def last(self, progress, *state):
        save(self, progress, *state)
        if progress.step == stop:
            self.processes.wait()
            os._exit(0)
    Checkpoints.save = last
result = run(spec, Job(folder=pathlib.Path(sys.argv[2])))
rank = int(os.environ["RANK"])
report = {"seen": seen, "result": result.model_dump(mode="json")}
pathlib.Path(sys.argv[3], f"rank{rank}.json").write_text(json.dumps(report))
"""


STRATEGIES = {
    "ddp": ({}, "DistributedDataParallel", 1.0),
    "fsdp": ({"strategy": "fsdp"}, "FSDPLlamaForCausalLM", 0.5),
    "fsdp, weights kept": (
        {"strategy": "fsdp", "fsdp": {"shard": "grad-op", "min_parameters": 600}},
        "FSDPLlamaForCausalLM",
        0.5,
    ),
    "zero1": ({"strategy": "zero1"}, "DeepSpeedEngine", 1.0),
    "zero2": ({"strategy": "zero2"}, "DeepSpeedEngine", 1.0),
    "zero3": ({"strategy": "zero3"}, "WholeLogits", 0.0),
    "fsdp, copies": ({"strategy": "fsdp", "fsdp": {"shard": "none"}}, "FSDPLlamaForCausalLM", 1.0),
}
COMMON = {
    "validate_every": 4,
    "max_steps": 12,
    "gradient_accumulation": 2,
    "samples": {"prompts": ["the cat"], "every": 6, "max_new_tokens": 3},
}


@pytest.fixture(scope="module")
def alone(texts, tmp_path_factory):
    """What one process gives with twice the batch: its result, its weights and its samples."""
    made = []

    def run_alone(make_spec):
        if not made:
            folder = tmp_path_factory.mktemp("one")
            common = {**COMMON, "validation": str(texts / "validation.jsonl")}
            result = run(make_spec(batch_size=4, **common), Job(folder=folder))
            weights = load_file(folder / "model.safetensors")
            made.extend([result, weights, (folder / SAMPLES).read_text()])
        return made

    return run_alone


OFTEN = ("ddp", "fsdp", "zero3")
"""Those that are tested before every change; the others take as long."""


def often(name: str):
    return pytest.param(name, marks=() if name in OFTEN else pytest.mark.nightly)


@pytest.mark.parametrize("name", map(often, STRATEGIES))
def test_two_processes_give_what_one_gives_with_twice_the_batch(
    make_spec, texts, tmp_path, alone, name
):
    """Each step has short windows, and windows of two epochs, unevenly spread over the ranks."""
    changes, wrapper, share = STRATEGIES[name]
    changes = {**COMMON, **changes, "validation": str(texts / "validation.jsonl")}
    two = tmp_path / "two"
    two.mkdir()
    spec = make_spec(batch_size=2, **changes).model_dump(mode="json")
    in_processes(2, tmp_path, CHILD, json.dumps(spec), str(two), str(tmp_path))
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    result, weights, texts_made = alone(make_spec)

    # What really ran: two processes that exchanged gradients, each with half of the windows.
    for rank in ranks:
        *facts, held = rank["seen"][0]
        assert facts == [wrapper, "gloo", 2, 4]
        assert held / result.parameters == pytest.approx(share, abs=0.02)
        assert len(rank["seen"]) == 12
        assert rank["result"]["processes"] == 2
        assert rank["result"]["tokens"] == result.tokens
        assert abs(rank["result"]["validation_loss"] - result.validation_loss) < 1e-5
        assert abs(rank["result"]["train_loss"] - result.train_loss) < 1e-5
    compare(load_file(two / "model.safetensors"), weights)
    assert (two / SAMPLES).read_text() == texts_made, "all make texts together, however spread"


def compare(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("strategy", map(often, ["zero1", "ddp", "fsdp", "zero2", "zero3"]))
def test_an_interrupted_run_goes_on_with_other_numbers_of_processes(
    make_spec, texts, tmp_path, alone, strategy
):
    """Two processes until step 4, one until step 8, four to the end, with the same steps."""
    folder = tmp_path / "out"
    folder.mkdir()
    common = {**COMMON, "validation": str(texts / "validation.jsonl"), "checkpoint_every": 4}
    for count, stop in ((2, 4), (1, 8), (4, 0)):
        changes = {} if count == 1 and strategy == "ddp" else {"strategy": strategy}
        spec = make_spec(batch_size=2, **common, **changes).model_dump(mode="json")
        spec["batch_size"], words = 2, [str(folder), str(tmp_path), str(stop)]
        in_processes(count, tmp_path, CHILD, json.dumps(spec), *words)
    report = json.loads((tmp_path / "rank3.json").read_text())
    assert report["result"]["resumed_from"] == 8
    assert report["result"]["processes"] == 4
    compare(load_file(folder / "model.safetensors"), alone(make_spec)[1])


def test_one_process_without_a_launcher_may_be_fully_sharded(make_spec, texts, tmp_path, alone):
    code = CHILD.replace('os.environ["RANK"]', "0")
    common = {**COMMON, "validation": str(texts / "validation.jsonl"), "strategy": "fsdp"}
    (tmp_path / "out").mkdir()
    spec = make_spec(batch_size=4, **common).model_dump(mode="json")
    words = [json.dumps(spec), str(tmp_path / "out"), str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    compare(load_file(tmp_path / "out/model.safetensors"), alone(make_spec)[1])


def test_steps_that_processes_cannot_share_are_refused(tmp_path):
    progress = Progress(step=4, processes=2)
    spec = SimpleNamespace(gradient_accumulation=1, strategy=None)
    with pytest.raises(UsageError, match="steps of 2 forward passes") as error:
        _passes(spec, progress, 3)
    assert "--force" in error.value.fix


def test_a_process_without_a_validation_window_goes_on(make_spec, tmp_path):
    """One window for two processes."""
    (tmp_path / "short.txt").write_text("a cat sat on a mat")
    (tmp_path / "two").mkdir()
    common = {"validation": str(tmp_path / "short.txt"), "max_steps": 1, "sequence_length": 32}
    spec = make_spec(batch_size=2, **common).model_dump(mode="json")
    in_processes(2, tmp_path, CHILD, json.dumps(spec), str(tmp_path / "two"), str(tmp_path))
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    (tmp_path / "one").mkdir()
    alone = run(make_spec(batch_size=4, **common), Job(folder=tmp_path / "one"))
    for rank in ranks:
        assert rank["result"]["validation_loss"] == pytest.approx(alone.validation_loss)


def in_processes(count: int, tmp_path, code: str, *arguments: str) -> None:
    """Run a script in several processes, as torchrun starts them."""
    (tmp_path / "child.py").write_text(code)
    command = [
        *[
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(count),
        ],
        *[str(tmp_path / "child.py"), *arguments],
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
