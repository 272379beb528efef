"""SIGKILL at system calls of a training: nothing that it has reached is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.preload import Fault
from tests.train.conftest import sentences
from tests.warm import Warm, warm
from tfcli.recipe.place import Place, completed, read_mark
from tfcli.recipe.record import read_record
from tfcli.tokenizers.run import train_bpe, write_tokenizer

CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
STRIDE = 8  # of the calls before it is complete, of which each kill costs the rest of a training


@pytest.fixture(scope="module")
def trained(home: Path, library: Path) -> Iterator[tuple[Warm, Path]]:
    """A process that has trained what the recipe `train.json` says, and the folder of it all."""
    folder = home / "training"
    folder.mkdir()
    (folder / "tokenizer").mkdir()
    write_tokenizer(train_bpe(sentences(0), 300), folder / "tokenizer")
    (folder / "text.jsonl").write_text(json.dumps({"text": sentences(0)[0]}))
    recipe = {
        "config": CONFIG,
        "tokenizer": str(folder / "tokenizer"),
        "data": str(folder / "text.jsonl"),
        "sequence_length": 16,
        "max_steps": 3,
        "checkpoint_every": 2,
        "batch_size": 1,
        "precision": "float32",
        "device": "cpu",
    }
    (folder / "train.json").write_text(json.dumps(recipe))
    (folder / "work").mkdir()
    with warm(home, preload=library) as process:
        assert process.load(*train(folder, folder / "whole")).code == 0
        yield process, folder


def train(folder: Path, output: Path) -> list[str]:
    return ["train", str(folder / "train.json"), "--output", str(output)]


def test_the_next_run_goes_on_from_the_checkpoint_or_names_what_is_complete(
    trained: tuple[Warm, Path],
) -> None:
    process, folder = trained
    whole, work = folder / "whole", folder / "work"
    names, weights = {p.name for p in whole.iterdir()}, (whole / "model.safetensors").read_bytes()
    place = Place(work / "out")
    command = train(folder, place.output)
    at, kills = 1, {"staged": 0, "complete": 0, "named": 0}
    while process.run(*command, fault=Fault(f"{work}/", at).as_job()).code is None:
        state = "named" if place.output.exists() else "complete" if completed(place) else "staged"
        if state == "staged" and not (place.partial / "checkpoint-2").exists():
            at += STRIDE  # before the checkpoint there is nothing to lose
            shutil.rmtree(work)
            work.mkdir()
            continue
        kills[state] += 1
        at += STRIDE if read_record(place.partial) is None and state == "staged" else 1
        found = {"staged": None, "complete": place.partial, "named": place.output}[state]
        made = None if found is None else (found / "run.json").read_bytes()
        assert process.run(*command).code == 0
        if made is None:
            assert read_record(place.output)["result"]["resumed_from"] == 2
        else:
            assert (place.output / "run.json").read_bytes() == made, "it is not made again"
        assert (place.output / "model.safetensors").read_bytes() == weights
        assert {path.name for path in place.output.iterdir()} == names
        assert [path.name for path in work.iterdir()] == ["out"]
        assert read_mark(place.output) is None
        shutil.rmtree(place.output)
    assert kills["staged"] > 5 and kills["complete"] and kills["named"] > 3, kills
