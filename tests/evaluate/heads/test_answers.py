"""Tasks of questions about contexts, beside SQuAD's rules on what the pipeline answers."""

from __future__ import annotations

import json

import pytest

import tfcli
from tests.conftest import SENTENCES
from tests.evaluate.heads.support import values
from tests.predict.support import make_model
from tfcli.commands.app import run
from tfcli.evaluate.samples import read_samples

ROWS = [
    {"question": f"what is {text.split()[0]}?", "context": " ".join(SENTENCES[n : n + 2])}
    for n, text in enumerate(SENTENCES)
]
TASK = {"output_type": "question-answering", "gold": "answers"}


@pytest.fixture(scope="module")
def model(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("answers") / "model"
    return make_model(folder, words, "question-answering", initializer_range=1.0)


def with_answers(golds):
    return [{**row, "answers": gold} for row, gold in zip(ROWS, golds, strict=True)]


def test_the_best_of_several_answers_counts(evaluate, model, tmp_path):
    said = [each["answer"] for each in tfcli.pipeline("question-answering", model)(ROWS)]
    assert all(said)
    golds = [
        ["nothing", f"The {said[0].upper()}!"],  # capitals, marks and articles do not count
        {"text": ["nothing", f"{said[1]} more"], "answer_start": [0, 0]},
        said[2],
        *({"text": ["nothing"], "answer_start": [0]} for _ in ROWS[3:]),
    ]
    found = evaluate(model, with_answers(golds), "--output", tmp_path / "out", **TASK)
    count = len(said[1].split())
    f1 = [1, 2 * count / (2 * count + 1), 1]
    assert values(found)["exact_match"] == pytest.approx(2 / len(ROWS))
    assert values(found)["answer_f1"] == pytest.approx(sum(f1) / len(ROWS))
    samples = read_samples(tmp_path / "out")
    assert samples[1].answer == said[1] and samples[1].target == ["nothing", f"{said[1]} more"]
    assert samples[0].scores == {"exact_match": 1, "answer_f1": 1}


def test_a_question_without_an_answer_lets_the_model_say_so(evaluate, model):
    pipe = tfcli.pipeline("question-answering", model, handle_impossible_answer=True)
    said = [each["answer"] for each in pipe(ROWS)]
    golds = [{"text": [], "answer_start": []} if not each else [each] for each in said]
    golds[0] = {"text": [], "answer_start": []}
    found = values(evaluate(model, with_answers(golds), **TASK))
    assert found["exact_match"] == 1 - (said[0] != "") / len(ROWS)
    options = {"handle_impossible_answer": False}
    error = evaluate(model, with_answers(golds), **TASK, options=options, code=2)
    assert "some questions have no answer" in error["what"]


def test_golds_that_are_no_texts_are_refused(evaluate, model):
    golds = [["one"], [1], *(["one"] for _ in ROWS[2:])]
    assert "gold of sample 1" in evaluate(model, with_answers(golds), **TASK, code=2)["what"]
    error = evaluate(
        model, with_answers([["a"] for _ in ROWS]), **TASK, columns={"question": "q"}, code=2
    )
    assert "no 'q'" in error["what"]


def test_what_pythons_documentation_quotes(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfcli.evaluate.kept.own_folder", lambda: tmp_path / "cache")
    flags = ["--limit", "3", "--output", str(tmp_path / "out"), "--json", "--quiet"]
    assert run(["eval", str(model), "--task", "python-spans", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(values(found)) == {"exact_match", "answer_f1"} and found["samples"] == 3
    for sample in read_samples(tmp_path / "out"):
        assert f'"{sample.target[0]}"' in sample.prompt and sample.cluster
