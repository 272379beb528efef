"""Answers in contexts: windows and places as transformers' tokenizers give them, and losses."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import BERT, LLAMA, fed, made, parts, require_same, theirs
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.train.log import read_metrics

AUTO = AutoModelForQuestionAnswering
OBJECTIVE = "question-answering"


def row(context: str, answer: str | None, question: str = "which dog") -> dict:
    answers = {"text": [], "answer_start": []}
    if answer is not None:
        answers = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"question": question, "context": context, "answers": answers}


def rows(count: int = 8, words: int = 12) -> list[dict]:
    """The answer is the word after `dog`."""
    chance, found = random.Random(0), []
    others = [word for word in WORDS if word != "dog"]
    for number in range(count):
        text = chance.choices(others, k=words + number % 3)
        at = chance.randrange(1, len(text) - 1)
        context = " ".join([*text[:at], "dog", *text[at:]])
        answers = {"text": [text[at]], "answer_start": [len(" ".join([*text[:at], "dog"])) + 1]}
        found.append({"question": "which dog", "context": context, "answers": answers})
    return found


@pytest.mark.parametrize("config", [BERT, LLAMA], ids=lambda config: config["model_type"])
def test_loss_and_gradients_are_those_of_transformers(spec_of, tmp_path, config):
    """Theirs takes padding for a place where an answer may be, so each window is alone there."""
    objective, examples, config = fed(spec_of(OBJECTIVE, rows(), config=config))
    batch = objective.collate(examples.train.items)
    assert (batch["attention_mask"] == 0).any()
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AUTO)
    loss = objective.loss(model, batch) / objective.count(batch)
    alone = [dict(objective.collate([each])) for each in examples.train.items]
    places = [each.pop("labels").unbind(1) for each in alone]
    losses = [
        reference(**each, start_positions=start, end_positions=end).loss
        for each, (start, end) in zip(alone, places, strict=True)
    ]
    require_same(loss, model, torch.stack(losses).mean(), reference)


def test_windows_and_places_are_those_of_their_recipe(spec_of, words):
    """As in the question-answering example of transformers, `prepare_train_features`."""
    task = [*rows(6, words=40), row("a cat sat", None), *rows(2, words=5)]
    _, examples, _ = fed(spec_of(OBJECTIVE, task, sequence_length=20, stride=6))
    tokenizer = AutoTokenizer.from_pretrained(words)
    expected = tokenizer(
        [each["question"] for each in task],
        [each["context"] for each in task],
        truncation="only_second",
        max_length=20,
        stride=6,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    items = examples.train.items
    assert len(items) == len(expected["input_ids"]) > 20
    for number, item in enumerate(items):
        assert item["input_ids"].tolist() == expected["input_ids"][number]
        assert item["token_type_ids"].tolist() == expected["token_type_ids"][number]
        answers = task[expected["overflow_to_sample_mapping"][number]]["answers"]
        offsets, texts = expected["offset_mapping"][number], expected.sequence_ids(number)
        assert item["labels"].tolist() == theirs_places(answers, offsets, texts)


def theirs_places(answers, offsets, texts) -> list[int]:
    if not answers["text"]:
        return [0, 0]
    start, first = answers["answer_start"][0], texts.index(1)
    stop, last = start + len(answers["text"][0]), len(texts) - 1 - texts[::-1].index(1)
    if not (offsets[first][0] <= start and offsets[last][1] >= stop):
        return [0, 0]
    while first < len(offsets) and offsets[first][0] <= start and texts[first] == 1:
        first += 1
    while offsets[last][1] >= stop and texts[last] == 1:
        last -= 1
    return [first - 1, last + 1]


def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows()))
    parts(objective, config, examples.train.items[:8], tmp_path)


def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train):
    spec = spec_of(OBJECTIVE, rows(40), max_steps=150, batch_size=8, optimizer={"lr": 1e-2})
    result, folder = train(spec)
    assert result.train_loss < read_metrics(folder / "metrics.jsonl")[0]["loss"] / 2
    model = AUTO.from_pretrained(folder).eval()
    ids = torch.tensor([[2, 7, 9, 11, 3]])
    with torch.no_grad():
        ours, wanted = load_model(folder, task=None)(ids).logits, model(ids)
    logits = torch.stack([wanted.start_logits, wanted.end_logits], dim=-1)
    torch.testing.assert_close(ours, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"answers": {"text": ["cat"], "answer_start": [1]}}, "'cat' is not in the context"),
        ({"answers": {"text": ["cat"], "answer_start": [-3]}}, "at answer_start -3"),
        ({"answers": {"text": ["cat"], "answer_start": []}}, "1 texts and 0 answer_start"),
        ({"answers": "cat"}, "not as SQuAD has them"),
        ({"answers": None}, "nothing in 'answers'"),
        ({"context": ""}, "the answer 'cat' is not in the context"),
        ({"question": "the cat " * 20}, "leaves room for 0 tokens"),
    ],
    ids=str,
)
def test_a_wrong_row_is_refused_with_its_line(spec_of, changed, what):
    task = [*rows(), {**row("a cat sat", "cat"), **changed}]
    problem = refused(lambda: fed(spec_of(OBJECTIVE, task)))
    assert what in problem.what and problem.where.endswith("rows.jsonl:9")


def test_windows_that_would_not_move_on_are_refused(spec_of):
    spec = spec_of(OBJECTIVE, rows(1, words=40), sequence_length=20, stride=15)
    problem = refused(lambda: fed(spec))
    assert "windows have 15 in common" in problem.what and "stride" in problem.fix
    assert "no rows" in refused(lambda: fed(spec_of(OBJECTIVE, []))).what


def test_answers_that_no_window_holds_are_counted(spec_of, capsys):
    text = " ".join(WORDS * 2)
    task = [row(text, " ".join(WORDS[6:])), row(text, "cat"), row(text, None)]
    fed(spec_of(OBJECTIVE, task, sequence_length=12, stride=2), Console())
    assert "1 of 3 answers are whole in no window" in capsys.readouterr().err
