"""Adapters that are trained by several processes: what one gives, whatever is spread."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.test_adapters import PACKED, losses
from tests.train.test_ranks import in_processes
from tfcli.commands.app import run as run_command
from tfcli.recipe.job import Job
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
    import tfcli.train.run as running
    job = Job(folder=pathlib.Path(spec.output))
    kept = []
    introduce = running.introduce
    def note(run, console):
        kept.append(run.strategy.proof(run.loop.wrapped))
        introduce(run, console)
    running.introduce = note
    try:
        run(spec, job)
    except Stopped:
        pass
    running.introduce = introduce
    proofs[name] = kept[0]
if os.environ.get("RANK", "0") == "0":
    pathlib.Path(sys.argv[1] + ".proofs").write_text(json.dumps(proofs))
"""
TWO = {"target_modules": ["q_proj", "up_proj"]}
KINDS = {
    "lora": {"type": "lora", **TWO, "modules_to_save": ["lm_head"]},
    "dora": {"type": "lora", "dora": True, "target_modules": ["q_proj", "embed_tokens"]},
    "pissa": {"type": "lora", **TWO, "start": "pissa"},
    "ia3": {"type": "ia3", "feedforward_modules": ["down_proj"]},
    "merged": {"type": "lora", "target_modules": ["q_proj", "embed_tokens"], "merge": True},
    "prefix": {"type": "prefix-tuning", "virtual_tokens": 3},
    "prompt": {"type": "prompt-tuning", "virtual_tokens": 3},
    **{kind: {"type": "lora", **TWO} for kind in PACKED},
}
COMMON = {
    "max_steps": 4,
    "optimizer": {"lr": 1e-2},
    "checkpoint_every": 2,
    "config": None,
    "tokenizer": None,
    "gradient_accumulation": 2,
}


@pytest.fixture(scope="module")
def base_of(tiny_llama, tmp_path_factory):
    """The model that an adapter is trained on, packed where its kind is a packing's."""
    folder = tmp_path_factory.mktemp("bases")

    def get(kind: str) -> str:
        if kind not in PACKED:
            return str(tiny_llama)
        if not (folder / kind).exists():
            words = ["quantize", str(tiny_llama), str(folder / kind), *PACKED[kind], "-q"]
            assert run_command(words) == 0
        return str(folder / kind)

    return get


@pytest.fixture(scope="module")
def alone(base_of, text_file, tmp_path_factory):
    """What one process gives with twice the batch: the folder of each kind."""
    folders = {}

    def get(kind: str, make_spec) -> Path:
        if kind not in folders:
            folders[kind] = folder = tmp_path_factory.mktemp(kind)
            made = make_spec(
                **COMMON, batch_size=4, model=base_of(kind), adapter=KINDS[kind],
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


def _kinds(name: str) -> tuple[str, ...]:
    """What a strategy is tried with; where weights are gathered block by block, no prompts."""
    refused = ("prompt",) if name.startswith("fsdp") or name == "zero3" else ()
    return tuple(kind for kind in KINDS if kind not in refused)


SPREAD = {"fsdp": ("lora", "dora", "nf4", "prefix"), "zero3": ("lora", "dora")}
"""Those that are tested before every change; all others as well every night."""
CASES = [
    *SPREAD.items(),
    *[pytest.param(name, _kinds(name), marks=pytest.mark.nightly) for name in STRATEGIES],
]


@pytest.fixture
def together(make_spec, base_of, text_file, tmp_path):
    """A function that trains adapters one after the other in several processes, in the folders that
    are named after them, and gives what each strategy says of itself."""

    def do(name: str, kinds, count: int, stop: int = 0) -> dict[str, str]:
        specs = {}
        for kind in kinds:
            (tmp_path / kind).mkdir(exist_ok=True)
            made: TrainSpec = make_spec(
                **COMMON, **STRATEGIES[name], batch_size=2, model=base_of(kind),
                adapter=KINDS[kind], data=str(text_file), output=str(tmp_path / kind),
            )  # fmt: skip
            specs[kind] = made.model_dump(mode="json")
        (tmp_path / "specs.json").write_text(json.dumps(specs))
        in_processes(count, tmp_path, CHILD, str(tmp_path / "specs.json"), str(stop))
        found: dict[str, str] = json.loads((tmp_path / "specs.json.proofs").read_text())
        return found

    return do


@pytest.mark.parametrize(("name", "kinds"), CASES)
def test_two_processes_give_the_adapter_that_one_gives_with_twice_the_batch(
    name, kinds, together, make_spec, alone, tmp_path
):
    proofs = together(name, kinds, 2)
    for kind in kinds:
        compare(tmp_path / kind, alone(kind, make_spec))
        if name == "fsdp":
            assert "50% of the weights in each" in proofs[kind]
        if kind in PACKED and name != "ddp":
            held = re.search(r"; ([0-9.]+) kB of packed weights whole in each", proofs[kind])
            # Levels are spread by FSDP; ZeRO leaves all of a packed weight where it is.
            assert (float(held[1]) < 12) == name.startswith("fsdp")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        pytest.param(name, ("lora", "pissa", "dora", "prefix"), marks=pytest.mark.nightly)
        for name in ("fsdp", "zero1", "zero3", "ddp")
    ],
)
def test_an_interrupted_run_goes_on_with_another_number_of_processes(
    name, kinds, together, make_spec, alone, tmp_path
):
    together(name, kinds, 2, stop=2)
    assert all((tmp_path / kind / "checkpoint-2").exists() for kind in kinds)
    together(name, kinds, 4 if name == "ddp" else 1)
    for kind in kinds:
        compare(tmp_path / kind, alone(kind, make_spec))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["fsdp", "zero3"])
def test_an_interrupted_run_ends_in_the_bits_of_a_straight_one(name, together, tmp_path):
    kinds = ("lora", "pissa", "dora", "prefix", "nf4")
    together(name, kinds, 2)
    for kind in kinds:
        (tmp_path / kind).rename(tmp_path / f"straight {kind}")
    together(name, kinds, 2, stop=2)
    together(name, kinds, 2)
    for kind in kinds:
        first, second = (tmp_path / f"straight {kind}", tmp_path / kind)
        assert written(first).read_bytes() == written(second).read_bytes()


def written(folder: Path) -> Path:
    return next(folder.glob("*model.safetensors"))


def compare(found: Path, expected: Path) -> None:
    first, second = load_file(written(found)), load_file(written(expected))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=2e-5)
    assert losses(found) == pytest.approx(losses(expected), abs=1e-5)
