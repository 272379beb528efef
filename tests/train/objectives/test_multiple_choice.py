"""Choices: losses beside transformers, and what is refused."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForMultipleChoice

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import LLAMA, fed, made, parts, require_same, theirs
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.train.log import read_metrics

OBJECTIVE = "multiple-choice"


def rows(count: int = 8) -> list[dict]:
    """The right choice is the one with a cat."""
    chance, found = random.Random(0), []
    for number in range(count):
        words = [chance.choices(WORDS, k=2 + (number + each) % 4) for each in range(3)]
        choices = [" ".join(word for word in each if word != "cat") + " a" for each in words]
        label = chance.randrange(3)
        choices[label] += " cat"
        found.append({"question": "which cat", "choices": choices, "label": label})
    return found


def test_loss_and_gradients_are_those_of_transformers(spec_of, tmp_path):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows()))
    batch = objective.collate(examples.train.items)
    assert batch["input_ids"].shape[:2] == (8, 3) and (batch["attention_mask"] == 0).any()
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AutoModelForMultipleChoice)
    loss = objective.loss(model, batch) / objective.count(batch)
    require_same(loss, model, reference(**batch).loss, reference)


def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows()))
    parts(objective, config, examples.train.items, tmp_path)


def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train):
    spec = spec_of(OBJECTIVE, rows(40), max_steps=60, optimizer={"lr": 1e-2})
    result, folder = train(spec)
    assert result.train_loss < read_metrics(folder / "metrics.jsonl")[0]["loss"] / 2
    assert result.unit == "row"
    model = AutoModelForMultipleChoice.from_pretrained(folder).eval()
    ids = torch.tensor([[[2, 7, 9, 3], [2, 11, 8, 3]]])
    with torch.no_grad():
        ours = load_model(folder, task=None)(input_ids=ids).logits
        torch.testing.assert_close(ours, model(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"choices": ["a", "b"]}, "there are 2 choices, and 3 in the first row"),
        ({"choices": "a"}, "'choices' is not a list, but a text"),
        ({"label": 3}, "the label 3 is no number of a choice, 0 to 2"),
        ({"label": -1}, "the label -1 is no number"),
        ({"label": None}, "nothing in 'label'"),
    ],
    ids=str,
)
def test_a_wrong_row_is_refused_with_its_line(spec_of, changed, what):
    problem = refused(lambda: fed(spec_of(OBJECTIVE, [*rows(), {**rows()[0], **changed}])))
    assert what in problem.what and problem.where.endswith("rows.jsonl:9")


def test_one_choice_no_rows_other_columns_and_models_without_the_head(spec_of, train):
    one = [{"question": "a", "choices": ["b"], "label": 0}]
    assert "there are 1 choices" in refused(lambda: fed(spec_of(OBJECTIVE, one))).what
    assert "no rows" in refused(lambda: fed(spec_of(OBJECTIVE, []))).what
    named = [{**row, "ending": row["choices"]} for row in rows()]
    for row in named:
        del row["choices"]
    problem = refused(lambda: fed(spec_of(OBJECTIVE, named)))
    assert "no 'choices'" in problem.what and problem.where.endswith("rows.jsonl:1")
    fed(spec_of(OBJECTIVE, named, columns={"choices": "ending"}))
    problem = refused(lambda: train(spec_of(OBJECTIVE, rows(), config=LLAMA)))
    assert problem.where == "objective"


def test_long_rows_are_cut_aloud(spec_of, capsys):
    _, examples, _ = fed(spec_of(OBJECTIVE, rows(), sequence_length=8), Console())
    assert max(each["input_ids"].shape[1] for each in examples.train.items) == 8
    assert "of 24 rows are longer than sequence_length (8)" in capsys.readouterr().err
