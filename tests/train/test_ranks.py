"""Two processes on one machine, as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tfcli.recipe.job import Job
from tfcli.train.run import run

CHILD = """
import json, pathlib, sys, torch
from tfcli.recipe.job import Job
from tfcli.train.loop import Loop
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

seen, train_step = [], Loop.train_step

def note(self, step, batches):
    seen.append([type(self.wrapped).__name__, torch.distributed.get_backend(),
                 torch.distributed.get_world_size(), sum(len(b["targets"]) for b in batches)])
    return train_step(self, step, batches)

Loop.train_step = note
spec = TrainSpec.model_validate(json.loads(sys.argv[1]))
result = run(spec, Job(folder=pathlib.Path(sys.argv[2])))
rank = torch.distributed.get_rank()
report = {"seen": seen, "result": result.model_dump(mode="json")}
pathlib.Path(sys.argv[3], f"rank{rank}.json").write_text(json.dumps(report))
"""


def test_two_processes_give_what_one_gives_with_twice_the_batch(make_spec, texts, tmp_path):
    """Each step has short windows, and windows of two epochs, unevenly spread over the ranks."""
    common = {
        "validation": str(texts / "validation.jsonl"),
        "validate_every": 4,
        "max_steps": 12,
        "gradient_accumulation": 2,
    }
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    spec = make_spec(batch_size=2, **common).model_dump(mode="json")
    in_two_processes(tmp_path, CHILD, json.dumps(spec), str(two), str(tmp_path))
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]

    # What really ran: two processes that exchanged gradients, each with half of the windows.
    for rank in ranks:
        assert rank["seen"] == [["DistributedDataParallel", "gloo", 2, 4]] * 12
        assert rank["result"]["processes"] == 2

    alone = run(make_spec(batch_size=4, **common), Job(folder=one))
    expected = load_file(one / "model.safetensors")
    for name, tensor in load_file(two / "model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)
    for rank in ranks:
        assert rank["result"]["tokens"] == alone.tokens
        assert abs(rank["result"]["validation_loss"] - alone.validation_loss) < 1e-5
        assert abs(rank["result"]["train_loss"] - alone.train_loss) < 1e-5


def test_a_process_without_a_validation_window_goes_on(make_spec, tmp_path):
    """One window for two processes."""
    (tmp_path / "short.txt").write_text("a cat sat on a mat")
    (tmp_path / "two").mkdir()
    common = {"validation": str(tmp_path / "short.txt"), "max_steps": 1, "sequence_length": 32}
    spec = make_spec(batch_size=2, **common).model_dump(mode="json")
    in_two_processes(tmp_path, CHILD, json.dumps(spec), str(tmp_path / "two"), str(tmp_path))
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    (tmp_path / "one").mkdir()
    alone = run(make_spec(batch_size=4, **common), Job(folder=tmp_path / "one"))
    for rank in ranks:
        assert rank["result"]["validation_loss"] == pytest.approx(alone.validation_loss)


def in_two_processes(tmp_path, code: str, *arguments: str) -> None:
    """Run a script in two processes, as torchrun starts them."""
    (tmp_path / "child.py").write_text(code)
    command = [
        *[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        *[str(tmp_path / "child.py"), *arguments],
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
