"""Whole runs on mixtures, on streams and within budgets of tokens."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
import torch

from tests.train.conftest import WORDS
from tfcli.errors import WorkError
from tfcli.recipe.job import Job
from tfcli.train.assemble import assemble
from tfcli.train.log import read_metrics
from tfcli.train.run import run


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder of two files with prompts and completions."""
    folder = tmp_path_factory.mktemp("pairs")
    chance = random.Random(3)
    for name, count in (("a", 17), ("b", 8)):
        rows = [
            {
                "prompt": " ".join(chance.choices(WORDS, k=3)),
                "completion": " " + " ".join(chance.choices(WORDS, k=chance.randint(1, 7))),
            }
            for _ in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def on(make_spec, chats, texts, pairs):
    """A function that gives the small spec on one of some data, with keys changed."""
    chat, text = str(chats / "train.jsonl"), str(texts / "train.jsonl")
    data = {
        "rows": {"data": str(pairs)},
        "text": {"data": text},
        "rows and rows": {"mixture": {"chats": {"path": chat, "weight": 0.7}, "pairs": str(pairs)}},
        "rows and text": {"mixture": {"chats": chat, "text": {"path": text, "weight": 2}}},
    }
    common = {"tokenizer": str(chats / "tokenizer"), "sequence_length": 63, "max_steps": 9}
    return lambda name, **changes: make_spec(**{**common, **data[name], **changes})


def started(spec, folder):
    folder.mkdir(exist_ok=True)
    return assemble(spec, Job(folder=folder))


def content(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    losses = [(line["loss"], line.get("val_loss")) for line in lines]
    return (folder / "model.safetensors").read_bytes(), losses


def interrupted(spec, folder, before: int) -> None:
    """A run that ends before a step."""

    class StopError(Exception):
        pass

    made = started(spec, folder)
    step = made.loop.train_step

    def until(number, *rest):
        if number == before:
            raise StopError
        return step(number, *rest)

    made.loop.train_step = until
    with pytest.raises(StopError):
        made.loop.run(made.progress)
    made.loop.callbacks.end()


STREAM = {"stream": True, "stream_buffer": 6}
RUNS = {
    "a mixture": ("rows and rows", {}),
    "a mixture, packed": ("rows and text", {"rows": {"packing": True}}),
    "a mixture of streams": ("rows and text", {**STREAM, "batch_tokens": 130}),
    "a stream": ("rows", STREAM),
    "a stream, packed": ("rows and rows", {**STREAM, "rows": {"packing": True}}),
    "a stream of texts": ("text", STREAM),
    "a budget of tokens": ("rows", {"batch_tokens": 130}),
}


@pytest.mark.parametrize("name", RUNS)
def test_an_interrupted_run_equals_a_straight_one_bit_for_bit(on, chats, tmp_path, name):
    """Several epochs, interrupted twice."""
    data, changes = RUNS[name]
    both = {"gradient_accumulation": 2, "checkpoint_every": 1}
    if data != "text":
        both |= {"validation": str(chats / "validation.jsonl"), "validate_every": 4}
    spec = on(data, **both, **changes)
    straight = tmp_path / "straight"
    straight.mkdir()
    result = run(spec, Job(folder=straight))
    folder = tmp_path / "resumed"
    for before in (3, 7):
        interrupted(spec, folder, before)
    again = run(spec, Job(folder=folder))
    assert again.resumed_from == 7 and again.epochs == result.epochs
    assert content(folder) == content(straight)


@pytest.mark.parametrize("name", ["a mixture, packed", "a mixture of streams", "a stream, packed"])
def test_more_processes_go_on_with_the_samples_of_one(on, tmp_path, name):
    data, changes = RUNS[name]
    spec = on(data, gradient_accumulation=4, **changes)
    alone = started(spec, tmp_path / "one").loop.feed
    expected = [alone.step(number) for number in range(7)]
    state, ranks = alone.state(3), []
    for rank in range(2):
        feed = started(spec, tmp_path / f"{rank}").loop.feed
        ranks.append(replace(feed, rank=rank, processes=2, accumulation=2, resumed=state))
    for number in range(3, 7):
        batches = [batch for feed in ranks for batch in feed.step(number)]
        for one, other in zip(expected[number], batches, strict=True):
            assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_stream_reads_no_more_rows_than_its_buffer_holds(on, pairs, tmp_path):
    """The row behind the first buffer is broken, and nobody has seen it yet."""
    lines = (pairs / "a.jsonl").read_text().splitlines()
    (tmp_path / "broken.jsonl").write_text("\n".join([*lines[:6], "{", *lines[6:]]))
    spec = on("rows", **STREAM, batch_size=2, **{"data": str(tmp_path / "broken.jsonl")})
    feed = started(spec, tmp_path / "run").loop.feed
    assert feed.step(2)
    with pytest.raises(WorkError, match="not JSON") as error:
        feed.step(3)
    assert error.value.where == f"{tmp_path / 'broken.jsonl'}:7"


def test_what_cannot_be_read_as_it_comes_is_refused(on, texts):
    path = str(texts / "train.jsonl")
    for changes, match in (
        ({"max_steps": None, "epochs": 2}, "give max_steps"),
        ({"validation_share": 0.1}, "give validation"),
        ({"rows": {"group_by_length": True}}, "batch_tokens"),
        ({"bpe_dropout": 0.1}, "leave it out"),
    ):
        with pytest.raises(ValueError, match=f"not known of a stream.*{match}"):
            on("rows", stream=True, **changes)
    with pytest.raises(ValueError, match="exactly one of data and mixture"):
        on("rows", data=path, mixture={"a": path})
    with pytest.raises(ValueError, match=r"mixture.a.format has no effect with objective: dpo"):
        on("rows", data=None, objective="dpo", mixture={"a": {"path": path, "format": "alpaca"}})
    with pytest.raises(ValueError, match="weight"):
        on("rows", mixture={"a": {"path": path, "weight": 0}})


def test_a_budget_of_tokens_stands_in_place_of_batch_size(on):
    for changes, match in (
        ({"batch_tokens": 64, "batch_size": 2}, "batch_size has no effect"),
        ({"batch_tokens": 60}, "holds no row"),
        ({"batch_tokens": 64, "compile": True}, "one"),
    ):
        with pytest.raises(ValueError, match=match):
            on("rows", **changes)
