"""Groups of processes that share every block, and FSDP2 between them, as torchrun starts them."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from tests.train.conftest import sentences
from tests.train.objectives.support import BERT
from tests.train.test_ranks import compare, in_processes
from tfcli.recipe.job import Job
from tfcli.tokenizers.run import WORDPIECE, write_tokenizer
from tfcli.tokenizers.training import train_wordpiece
from tfcli.train.log import read_metrics
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

CHILD = """
import json, os, pathlib, sys
from tfcli.recipe.job import Job
from tfcli.train.checkpoint import Checkpoints
from tfcli.train.loop import Loop
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

seen, train_step = {}, Loop.train_step
values, folder, reports, stop = json.loads(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])

def note(self, step, batches, seconds):
    local = sum(each.to_local().numel() for each in self.model.parameters())
    inputs = [batch["input_ids"].tolist() for batch in batches]
    seen.setdefault(step, [self.strategy.proof(self.wrapped), local, inputs])
    return train_step(self, step, batches, seconds)

def last(self, progress, *state):  # as if every process were killed after this checkpoint
    save(self, progress, *state)
    if progress.step == stop:
        report()
        self.processes.wait()
        os._exit(0)

def report():
    pathlib.Path(reports, f"seen{os.environ['RANK']}.json").write_text(json.dumps(seen))

save, Checkpoints.save, Loop.train_step = Checkpoints.save, last, note
run(TrainSpec.model_validate(values), Job(folder=pathlib.Path(folder)))
report()
"""
COMMON = {"gradient_accumulation": 2, "max_steps": 8, "checkpoint_every": 2}
GROUPED = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
"""Two heads share their keys, and a process has two heads."""
NORMED = GROUPED | {"model_type": "qwen3", "head_dim": 8}
"""Queries have a norm, whose weight is whole in each process and sees half of the heads."""


def trained(processes, spec: TrainSpec, folder, tmp_path, stop=0):
    """Train in so many processes; what each saw of its first step."""
    words = [json.dumps(spec.model_dump(mode="json")), str(folder), str(tmp_path), str(stop)]
    in_processes(processes, tmp_path, CHILD, *words)
    ranks = [json.loads((tmp_path / f"seen{rank}.json").read_text()) for rank in range(processes)]
    return [next(iter(seen.values())) for seen in ranks]


def require_alike(folder, alone) -> None:
    """Losses, norms and weights are those of one process."""
    lines, others = (read_metrics(each / "metrics.jsonl") for each in (folder, alone))
    for found, expected in zip(lines, others, strict=True):
        assert found.keys() == expected.keys()
        for key in {"loss", "grad_norm", "val_loss"} & expected.keys():
            assert found[key] == pytest.approx(expected[key], rel=1e-5)
    compare(load_file(folder / "model.safetensors"), load_file(alone / "model.safetensors"))


def in_folder(tmp_path, name):
    (tmp_path / name).mkdir()
    return tmp_path / name


def test_two_groups_of_two_give_what_one_process_gives_and_it_goes_on_from_them(
    make_spec, texts, tmp_path
):
    common = {**COMMON, "config": GROUPED, "validation": str(texts / "validation.jsonl")}
    alone, folder = in_folder(tmp_path, "alone"), in_folder(tmp_path, "out")
    run(make_spec(batch_size=4, **common), Job(folder=alone))
    spec = make_spec(batch_size=2, strategy="tp", **common)
    ranks = trained(4, spec, folder, tmp_path, stop=6)
    proofs, held, inputs = zip(*ranks, strict=True)
    assert proofs[0].startswith("2 groups of 2, 14 parameters cut within each; 4 ranks")
    whole = sum(each.numel() for each in load_file(alone / "model.safetensors").values())
    assert all(0.25 < part / whole < 0.5 for part in held)  # tables and norms: halves
    assert inputs[0] == inputs[1] != inputs[2] == inputs[3]
    parts = [load_file(path) for path in sorted((folder / "checkpoint-6").glob("weights-*"))]
    assert sum(each.numel() for part in parts for each in part.values()) == whole
    run(make_spec(batch_size=2, **common), Job(folder=folder))
    require_alike(folder, alone)


@pytest.mark.nightly
def test_one_group_goes_on_from_two(make_spec, texts, tmp_path):
    """2 x 2, then 1 x 2 in copies of nothing, then 2 x 2 that keep weights between passes."""
    common = {**COMMON, "config": NORMED, "validation": str(texts / "validation.jsonl")}
    alone, folder = in_folder(tmp_path, "alone"), in_folder(tmp_path, "out")
    run(make_spec(batch_size=4, **common), Job(folder=alone))
    spec = make_spec(batch_size=2, strategy="tp", **common)
    trained(4, spec, folder, tmp_path, stop=2)
    trained(2, spec, folder, tmp_path, stop=4)
    changes = {"fsdp": {"shard": "none"}, "activation_checkpointing": True}
    trained(4, make_spec(batch_size=2, strategy="tp", **changes, **common), folder, tmp_path)
    require_alike(folder, alone)


@pytest.mark.nightly
def test_an_encoder_is_cut(make_spec, tmp_path):
    write_tokenizer(train_wordpiece(sentences(0), 120), in_folder(tmp_path, "words"), WORDPIECE)
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in sentences(0))
    )
    common = {
        **COMMON,
        "objective": "masked-lm",
        "config": BERT,
        "tokenizer": str(tmp_path / "words"),
        "data": str(tmp_path / "rows.jsonl"),
        "sequence_length": 32,
        # Biases of keys have no gradient but rounding, which Adam would make steps of.
        "optimizer": {"name": "sgd", "lr": 0.1},
    }
    alone, folder = in_folder(tmp_path, "alone"), in_folder(tmp_path, "out")
    run(make_spec(batch_size=4, **common), Job(folder=alone))
    trained(4, make_spec(batch_size=2, strategy="tp", **common), folder, tmp_path)
    require_alike(folder, alone)
