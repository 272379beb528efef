"""Tasks of entities, beside seqeval on what transformers' own model says."""

from __future__ import annotations

import pytest
import torch
from seqeval import metrics as seqeval
from sklearn.metrics import accuracy_score

from tests.conftest import SENTENCES
from tests.evaluate.heads.support import asked, values
from tests.predict.support import make_model
from tfcli.evaluate.samples import read_samples

TAGS = ["O", "B-A", "I-A", "B-C", "I-C"]
WORDS = [sentence.split()[n : n + 6] for n in range(4) for sentence in SENTENCES]
GOLD = [[TAGS[(len(word) + n) % 5] for n, word in enumerate(words)] for words in WORDS]
ROWS = [{"text": words, "tags": tags} for words, tags in zip(WORDS, GOLD, strict=True)]
TASK = {"output_type": "token-classification", "gold": "tags"}
ENTITIES = ("entity_f1", "entity_precision", "entity_recall")


@pytest.fixture(scope="module")
def model(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("tags") / "model"
    labels = {"id2label": {str(number): tag for number, tag in enumerate(TAGS)}}
    return make_model(
        folder, words, "token-classification", seed=1, initializer_range=1.0, **labels
    )


@pytest.fixture(scope="module")
def said(model):
    """The tag of each word, by its first token, of transformers' model."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(model)
    found = []
    for words in WORDS:
        read = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            best = theirs(**read).logits[0].argmax(-1).tolist()
        numbers = read.word_ids()
        found.append([TAGS[best[numbers.index(word)]] for word in range(len(words))])
    return found


def test_tags_of_words_are_judged_as_seqeval_does(evaluate, model, said, tmp_path):
    found = evaluate(model, ROWS, "--output", tmp_path / "out", **TASK)
    flat = [[tag for tags in each for tag in tags] for each in (GOLD, said)]
    wanted = {
        "entity_f1": seqeval.f1_score(GOLD, said),
        "entity_precision": seqeval.precision_score(GOLD, said),
        "entity_recall": seqeval.recall_score(GOLD, said),
        "tag_accuracy": accuracy_score(*flat),
    }
    assert values(found) == pytest.approx(wanted)
    assert 0 < wanted["entity_f1"] < 1
    (first, *_) = read_samples(tmp_path / "out")
    assert (first.target, first.answer) == (GOLD[0], said[0])
    assert first.weights == {"tag_accuracy": len(WORDS[0])}
    numbers = [{**row, "tags": [TAGS.index(tag) for tag in row["tags"]]} for row in ROWS]
    assert values(evaluate(model, numbers, **TASK)) == values(found)


def test_entities_that_count_words_are_those_of_the_tags(evaluate, model):
    from seqeval.metrics.sequence_labeling import get_entities

    rows = [
        {
            "text": row["text"],
            "tags": [
                {"label": name, "start": first, "end": last + 1}
                for name, first, last in get_entities(row["tags"])
            ],
        }
        for row in ROWS
    ]
    names = asked(*ENTITIES, "exact_match")
    by_words = values(evaluate(model, rows, **TASK, metric_list=names))
    assert by_words == values(evaluate(model, ROWS, **TASK, metric_list=asked(*ENTITIES))) | {
        "exact_match": by_words["exact_match"]
    }


@pytest.mark.parametrize("strategy", [None, "first"])
def test_entities_of_a_text_count_characters(evaluate, model, strategy):
    from transformers import pipeline

    texts = [" ".join(words) for words in WORDS]
    theirs = pipeline("ner", str(model), aggregation_strategy=strategy or "simple")(texts)
    ours = [{(e["entity_group"], e["start"], e["end"]) for e in each} for each in theirs]
    assert all(ours)
    rows = []
    for number, (text, each) in enumerate(zip(texts, ours, strict=True)):
        gold = sorted(each)[number % 3 :]  # some are not right, and one of each third is not found
        more = [("A", 0, len(text))] if number % 3 == 0 else []
        entities = [{"label": n, "start": s, "end": e} for n, s, e in gold + more]
        rows.append({"text": text, "tags": entities})
    options = {} if strategy is None else {"aggregation_strategy": strategy}
    found = values(evaluate(model, rows, **TASK, options=options))
    right = sum(len(each) - min(n % 3, len(each)) for n, each in enumerate(ours))
    wanted = right + sum(n % 3 == 0 for n in range(len(ours)))
    assert found["entity_precision"] == pytest.approx(right / sum(map(len, ours)))
    assert found["entity_recall"] == pytest.approx(right / wanted)
    assert found["exact_match"] == 0


@pytest.mark.parametrize(
    ("row", "keys", "what"),
    [
        ({"tags": ["B-A"]}, {}, "has 6 words and 1 tags"),
        ({"tags": ["B-X"] * 6}, {}, "'B-X', which the model does not have"),
        ({"tags": [{"label": "A", "start": 2, "end": 9}]}, {}, "none of its text"),
        ({"tags": [{"label": "X", "start": 0, "end": 1}]}, {}, "the label 'X'"),
        ({"text": "one", "tags": [{"label": "A", "start": 3, "end": 3}]}, {}, "none of its text"),
        ({"text": "one", "tags": []}, {"metric_list": asked("tag_accuracy")}, "all have a tag"),
        ({}, {"options": {"aggregation_strategy": "first"}}, "no effect"),
    ],
    ids=str,
)
def test_entities_that_are_none_are_refused(evaluate, model, monkeypatch, row, keys, what):
    monkeypatch.setattr("tfcli.predict.load.load_ready", None)
    error = evaluate(model, [{**ROWS[0], **row}], **TASK, **keys, code=2)
    assert what in error["what"]


def test_labels_that_say_no_beginning_have_no_entities(evaluate, tmp_path, words):
    labels = {"id2label": {"0": "WORD", "1": "MARK"}}
    model = make_model(tmp_path / "model", words, "token-classification", **labels)
    rows = [{"text": ["a", "b"], "tags": ["WORD", "MARK"]}]
    assert values(evaluate(model, rows, **TASK)) == {"tag_accuracy": 0.5}
    error = evaluate(model, rows, **TASK, metric_list=asked("entity_f1"), code=2)
    assert "do not say where one begins" in error["what"]
