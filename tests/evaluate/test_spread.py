"""Several processes that measure one model, as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tfcli.evaluate.spec import EvalSpec


def measured(model, text, *words: str, processes: int = 1) -> tuple[dict, str]:
    """The result of `tfcli eval`, and what it says."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    options = ["--window", "16", "--batch-size", "3", "--json", "--device", "cpu"]
    command = [*start, "tfcli.commands", "eval", str(model), "--data", str(text), *options, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize(
    ("strategy", "proof"),
    [
        ("zero3", "ZeRO stage 3: DeepSpeedZeRoOffload"),
        pytest.param("fsdp", "fully_shard", marks=pytest.mark.nightly),
        pytest.param(None, "", marks=pytest.mark.nightly),
    ],
)
def test_two_processes_measure_what_one_does(tiny_llama, text_file, strategy, proof):
    words = [] if strategy is None else ["--strategy", strategy]
    if strategy == "zero3":
        words += ["--set", "deepspeed.offload_weights=cpu"]
    found, said = measured(tiny_llama, text_file, *words, processes=2)
    expected, _ = measured(tiny_llama, text_file)
    assert (found.pop("processes"), expected.pop("processes")) == (2, 1)
    for name in ("loss", "perplexity", "bits_per_byte"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)
    assert found["tokens"] == expected["tokens"]
    assert proof in said
    if strategy is not None:
        assert "2 ranks, " in said and "100% of the weights" not in said


def test_only_one_dense_model_is_spread():
    with pytest.raises(ValidationError, match="leave out reference or strategy"):
        EvalSpec(model="a", data="b", reference="c", strategy="zero3")
    with pytest.raises(ValidationError, match="leave out load_in or strategy"):
        EvalSpec(model="a", data="b", load_in="4bit", strategy="fsdp")
    with pytest.raises(ValidationError, match="strategy"):
        EvalSpec(model="a", data="b", strategy="fsdp", deepspeed={"offload_weights": "cpu"})
