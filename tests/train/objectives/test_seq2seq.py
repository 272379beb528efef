"""Texts from texts: T5 and BART beside transformers, smoothing, what a target begins with."""

from __future__ import annotations

import json
import random

import pytest
import torch
from torch import nn
from transformers import AutoModelForSeq2SeqLM
from transformers.trainer_pt_utils import LabelSmoother

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import BART, BERT, T5, fed, made, parts, require_same, theirs
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.tokenizers.load import load_tokenizer
from tfcli.train.log import read_metrics

OBJECTIVE = "seq2seq"
BOTH = pytest.mark.parametrize("config", [T5, BART], ids=lambda config: config["model_type"])


@pytest.fixture
def spec_of(spec_of, pieces):
    """The same with that tokenizer and a T5."""

    def make(rows, **changes):
        return spec_of(OBJECTIVE, rows, **{"config": T5, "tokenizer": pieces, **changes})

    return make


def rows(count: int = 8) -> list[dict]:
    """The first word of each source is its target."""
    chance, found = random.Random(0), []
    for number in range(count):
        words = chance.choices(WORDS, k=2 + number % 4)
        found.append({"source": " ".join(words), "target": " ".join(words[: 1 + number % 2])})
    return found


def same_as_theirs(spec, tmp_path, loss_of):
    objective, examples, config = fed(spec)
    batch = objective.collate(examples.train.items)
    assert (batch["labels"] == -100).any() and (batch["attention_mask"] == 0).any()
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AutoModelForSeq2SeqLM)
    loss = objective.loss(model, batch) / objective.count(batch)
    require_same(loss, model, loss_of(reference, batch), reference)


@BOTH
def test_loss_and_gradients_are_those_of_transformers(spec_of, tmp_path, config):
    def loss_of(reference: nn.Module, batch):
        return reference(**batch).loss

    same_as_theirs(spec_of(rows(), config=config), tmp_path, loss_of)


@BOTH
def test_smoothed_losses_are_those_of_transformers(spec_of, tmp_path, config):
    def loss_of(reference: nn.Module, batch):
        return LabelSmoother(0.1)(reference(**batch), batch["labels"])

    same_as_theirs(spec_of(rows(), config=config, label_smoothing=0.1), tmp_path, loss_of)


def test_validation_is_not_smoothed(spec_of):
    objective, examples, config = fed(spec_of(rows(), label_smoothing=0.3))
    plain, batch = fed(spec_of(rows()))[0], objective.collate(examples.train.items)
    model = made(objective, config)
    with torch.no_grad():
        assert objective.loss(model, batch) == plain.loss(model, batch)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path, smoothing):
    objective, examples, config = fed(spec_of(rows(), label_smoothing=smoothing))
    parts(objective, config, examples.train.items, tmp_path)


@BOTH
def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train, config):
    spec = spec_of(rows(40), config=config, max_steps=60, optimizer={"lr": 2e-2})
    result, folder = train(spec)
    assert result.train_loss < read_metrics(folder / "metrics.jsonl")[0]["loss"] / 2
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["decoder_start_token_id"] == model.config.decoder_start_token_id == 0
    ids, target = torch.tensor([[7, 9, 11, 1]]), torch.tensor([[0, 7, 9]])
    with torch.no_grad():
        ours = load_model(folder, task=None)(ids, decoder_input_ids=target).logits
        wanted = model(ids, decoder_input_ids=target).logits
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)


def test_a_target_ends_and_a_prefix_stands_before_the_source(spec_of, texts, pieces):
    task = [{"source": "a cat", "target": "dog"}]

    def first(folder, **changes):
        example = fed(spec_of(task, tokenizer=folder, **changes))[1].train.items[0]
        return example["input_ids"].tolist(), example["labels"].tolist()

    tokenizer = load_tokenizer(pieces)
    source, target = first(pieces, source_prefix="on: ")
    assert source == tokenizer.encode("on: a cat") and target == tokenizer.encode("dog")
    assert target[-1] == tokenizer.eos_id
    bpe = load_tokenizer(texts / "tokenizer")
    assert first(str(texts / "tokenizer"))[1] == [*bpe.encode("dog"), bpe.eos_id]


def test_what_a_target_begins_with_can_be_said(spec_of):
    given = {**T5, "decoder_start_token_id": 5}
    assert fed(spec_of(rows(), config=given))[2].decoder_start_token_id == 5


def test_long_sources_and_targets_are_cut_aloud(spec_of, capsys):
    spec = spec_of(rows(), sequence_length=6, target_length=4)
    _, examples, _ = fed(spec, Console())
    items = examples.train.items
    assert max(len(each["input_ids"]) for each in items) == 6
    assert max(len(each["labels"]) for each in items) == 4
    assert all(each["labels"][-1] == 1 for each in items), "a target ends in any case"
    said = capsys.readouterr().err
    assert "than sequence_length (6)" in said and "than target_length (4)" in said


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"source": "a", "traget": "b"}, "no 'target'"),
        ({"source": "a", "target": None}, "nothing in 'target'"),
        ({"source": ["a"], "target": "b"}, "'source' is not a text, but a list"),
    ],
    ids=str,
)
def test_a_wrong_row_is_refused_with_its_line(spec_of, row, what):
    problem = refused(lambda: fed(spec_of([*rows(), row])))
    assert what in problem.what and problem.where.endswith("rows.jsonl:9")


def test_models_and_lengths_that_do_not_fit_are_refused(spec_of, train, words):
    problem = refused(lambda: train(spec_of(rows(), config=BERT, tokenizer=words)))
    assert problem.where == "objective" and "has no task 'seq2seq-lm'" in problem.what
    assert "no rows" in refused(lambda: fed(spec_of([]))).what
    problem = refused(lambda: fed(spec_of(rows(), config=BART, target_length=65)))
    assert problem.where == "target_length" and problem.fix == "at most 64"
