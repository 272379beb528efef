"""Adapters that are trained by several processes: what one gives, whatever is spread."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.test_adapters import PACKED
from tests.train.test_ranks import in_processes, often
from tfcli.commands.app import run as run_command
from tfcli.recipe.job import Job
from tfcli.train.log import read_metrics
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

CHILD = """
import json, os, pathlib, sys
from tfcli.recipe.job import Job
from tfcli.train.checkpoint import Checkpoints
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.strategy import Strategy

proofs = {}
class Stopped(Exception): pass
save = Checkpoints.save
stop = int(sys.argv[2])

def last(self, progress, *state):  # as if every process were killed when this checkpoint is there
    save(self, progress, *state)
    if progress.step == stop:
        raise Stopped

Checkpoints.save = last
for name, values in json.loads(pathlib.Path(sys.argv[1]).read_text()).items():
    spec = TrainSpec.model_validate(values)
    import tfcli.train.assemble as assembling
    job = Job(folder=pathlib.Path(spec.output))
    kept = []
    introduce = assembling._introduce
    def note(spec, job, run):
        kept.append(run.strategy.proof(run.loop.wrapped))
        introduce(spec, job, run)
    assembling._introduce = note
    try:
        run(spec, job)
    except Stopped:
        pass
    assembling._introduce = introduce
    proofs[name] = kept[0]
if os.environ.get("RANK", "0") == "0":
    pathlib.Path(sys.argv[1] + ".proofs").write_text(json.dumps(proofs))
"""
Q = {"target_modules": ["q_proj", "up_proj"]}
KINDS = {
    "lora": {"type": "lora", **Q, "modules_to_save": ["lm_head"]},
    "dora": {"type": "lora", "dora": True, "target_modules": ["q_proj", "embed_tokens"]},
    "pissa": {"type": "lora", **Q, "start": "pissa"},
    "ia3": {"type": "ia3", "feedforward_modules": ["down_proj"]},
    **{kind: {"type": "lora", **Q} for kind in PACKED},
}
COMMON = {"max_steps": 4, "optimizer": {"lr": 1e-2}, "checkpoint_every": 2, "config": None,
          "tokenizer": None, "gradient_accumulation": 2}  # fmt: skip


@pytest.fixture(scope="module")
def bases(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    for kind, words in PACKED.items():
        assert run_command(["quantize", str(tiny_llama), str(folder / kind), *words, "-q"]) == 0
    return {kind: folder / kind if kind in PACKED else tiny_llama for kind in KINDS}


@pytest.fixture(scope="module")
def alone(bases, text_file, tmp_path_factory):
    """What one process gives with twice the batch: the folder of each kind."""
    folders = {}

    def get(kind: str, make_spec) -> Path:
        if kind not in folders:
            folders[kind] = folder = tmp_path_factory.mktemp(kind)
            made = make_spec(
                **COMMON, batch_size=4, model=str(bases[kind]), adapter=KINDS[kind],
                data=str(text_file), output=str(folder),
            )  # fmt: skip
            run(made, Job(folder=folder))
        return folders[kind]

    return get


STRATEGIES = {
    "fsdp": {"strategy": "fsdp"},
    "fsdp, small units": {"strategy": "fsdp", "fsdp": {"shard": "grad-op", "min_parameters": 600}},
    "fsdp, copies": {"strategy": "fsdp", "fsdp": {"shard": "none"}},
    "zero1": {"strategy": "zero1"},
    "zero2": {"strategy": "zero2"},
    "zero3": {"strategy": "zero3"},
    "ddp": {"strategy": "ddp"},
}


@pytest.mark.parametrize("name", map(often, STRATEGIES))
def test_two_processes_give_the_adapter_that_one_gives_with_twice_the_batch(
    name, make_spec, bases, text_file, tmp_path, alone
):
    specs = {}
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        made: TrainSpec = make_spec(
            **COMMON, **STRATEGIES[name], batch_size=2, model=str(bases[kind]),
            adapter=KINDS[kind], data=str(text_file), output=str(tmp_path / kind),
        )  # fmt: skip
        specs[kind] = made.model_dump(mode="json")
    (tmp_path / "specs.json").write_text(json.dumps(specs))
    in_processes(2, tmp_path, CHILD, str(tmp_path / "specs.json"), "0")
    proofs = json.loads((tmp_path / "specs.json.proofs").read_text())
    print(json.dumps(proofs, indent=1))
    for kind in KINDS:
        compare(tmp_path / kind, alone(kind, make_spec))


def compare(found: Path, expected: Path) -> None:
    first, second = (load_file(each / "adapter_model.safetensors") for each in (found, expected))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=2e-5, msg=lambda m: f"{found.name} {name}: {m}")
    one, two = (
        [line["loss"] for line in read_metrics(each / "metrics.jsonl")] for each in (found, expected)
    )
    assert one == pytest.approx(two, abs=1e-5)
