"""Tags of words: at first subwords, with losses beside transformers."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import BERT, LLAMA, fed, made, parts, require_same, theirs
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.train.log import read_metrics

AUTO = AutoModelForTokenClassification
OBJECTIVE = "token-classification"
ANIMALS = {"cat": "B-ANIMAL", "dog": "B-ANIMAL", "house": "B-PLACE"}


def rows(count: int = 8) -> list[dict]:
    chance = random.Random(0)
    texts = [chance.choices([*WORDS, "zzqx"], k=2 + number % 5) for number in range(count)]
    return [{"tokens": each, "tags": [ANIMALS.get(word, "O") for word in each]} for each in texts]


@pytest.mark.parametrize("config", [BERT, LLAMA], ids=lambda config: config["model_type"])
def test_loss_and_gradients_are_those_of_transformers(spec_of, tmp_path, config):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows(), config=config))
    batch = objective.collate(examples.train.items)
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AUTO)
    loss = objective.loss(model, batch) / objective.count(batch)
    require_same(loss, model, reference(**batch).loss, reference)


def test_the_first_subword_of_each_word_is_labelled(spec_of, words):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows()))
    batch = objective.collate(examples.train.items)
    tokenizer = AutoTokenizer.from_pretrained(words)
    for number, row in enumerate(rows()):
        found = tokenizer(row["tokens"], is_split_into_words=True)
        assert len(found["input_ids"]) > len(row["tokens"]) + 1
        expected, last = [], None
        for word in found.word_ids():
            first = word is not None and word != last
            expected.append(config.label2id[row["tags"][word]] if first else -100)
            last = word
        assert batch["labels"][number, : len(expected)].tolist() == expected
        assert (batch["labels"][number, len(expected) :] == -100).all()
    assert objective.count(batch) == sum(len(row["tokens"]) for row in rows())
    assert (batch["labels"] == -100).sum() > 2 * len(rows()), "a word has several subwords"


def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows()))
    parts(objective, config, examples.train.items, tmp_path)


def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train):
    spec = spec_of(OBJECTIVE, rows(40), max_steps=40, optimizer={"lr": 1e-2})
    result, folder = train(spec)
    assert result.train_loss < read_metrics(folder / "metrics.jsonl")[0]["loss"] / 5
    model = AUTO.from_pretrained(folder).eval()
    assert model.config.id2label == {0: "B-ANIMAL", 1: "B-PLACE", 2: "O"}
    ids = torch.tensor([[2, 7, 9, 11, 3]])
    with torch.no_grad():
        ours = load_model(folder, task=None)(ids).logits
        torch.testing.assert_close(ours, model(ids).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"tokens": ["a"], "tag": ["O"]}, "no 'tags'"),
        ({"tokens": ["a", "cat"], "tags": ["O"]}, "2 tokens and 1 tags"),
        ({"tokens": [], "tags": []}, "no tokens"),
        ({"tokens": "a cat", "tags": ["O", "O"]}, "'tokens' is not a list, but a text"),
        ({"tokens": ["a", 3], "tags": ["O", "O"]}, "'tokens' is not a text, but a number"),
        ({"tokens": ["a"], "tags": [None]}, "the label None is neither"),
    ],
    ids=str,
)
def test_a_wrong_row_is_refused_with_its_line(spec_of, row, what):
    problem = refused(lambda: fed(spec_of(OBJECTIVE, [*rows(), row])))
    assert what in problem.what and problem.where.endswith("rows.jsonl:9")


def test_tags_out_of_range_are_refused(spec_of, rows_file):
    named = {**BERT, "num_labels": 3}
    task = [{"tokens": ["a", "cat"], "tags": [0, 2]}]
    assert fed(spec_of(OBJECTIVE, task, config=named))[2].num_labels == 3
    wrong = [*task, {"tokens": ["a"], "tags": [3]}]
    problem = refused(lambda: fed(spec_of(OBJECTIVE, wrong, config=named)))
    assert "3 is none of the 3 labels" in problem.what and problem.where.endswith("rows.jsonl:2")
    assert "no rows" in refused(lambda: fed(spec_of(OBJECTIVE, []))).what


def test_long_rows_are_cut_aloud(spec_of, capsys):
    spec = spec_of(OBJECTIVE, rows(), sequence_length=6)
    _, examples, _ = fed(spec, Console())
    assert max(len(each["labels"]) for each in examples.train.items) == 6
    assert "rows are longer than sequence_length (6) and are cut" in capsys.readouterr().err
