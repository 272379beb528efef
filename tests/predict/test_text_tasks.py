"""Tasks of encoders beside transformers' pipelines on the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tfcli
from tests.predict.support import TEXTS, close, make_model, make_words
from tfcli.errors import UsageError, WorkError

LABELS = {"id2label": {"0": "good", "1": "bad", "2": "ugly"}}
TAGS = {"id2label": {"0": "O", "1": "B-A", "2": "I-A", "3": "B-C", "4": "I-C"}}
NLI = {"id2label": {"0": "contradiction", "1": "neutral", "2": "ENTAILMENT"}}


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    return make_words(tmp_path_factory.mktemp("words") / "words")


@pytest.fixture(scope="module")
def both(tmp_path_factory, words):
    """A function that gives a tiny model's pipelines: tfcli's and transformers'."""
    from transformers import pipeline

    made: dict[str, Path] = {}

    def of(task, head, batch_size=4, theirs=None, config=None, **options):
        config = config or {}
        key = json.dumps([head, config], sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("model") / "model"
            made[key] = make_model(folder, words, head, **config)
        model = made[key]
        own = tfcli.pipeline(task, model, batch_size=batch_size, **options)
        return own, pipeline(theirs or task, model=str(model), **options)

    return of


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 2},
        {"top_k": None},
        {"top_k": 2, "function_to_apply": "sigmoid"},
        {"function_to_apply": "none"},
    ],
)
def test_labels_of_texts_and_pairs(both, options) -> None:
    ours, theirs = both("sentiment-analysis", "sequence-classification", config=LABELS, **options)
    assert close(ours(TEXTS), theirs(TEXTS))
    pair = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    assert close([ours(pair)], [theirs(pair)])


@pytest.mark.parametrize(
    "config", [{"id2label": {"0": "one"}}, {"problem_type": "multi_label_classification"}]
)
def test_the_function_follows_from_the_config(both, config) -> None:
    ours, theirs = both("text-classification", "sequence-classification", config=config)
    assert close(ours(TEXTS), theirs(TEXTS))


@pytest.mark.parametrize("options", [{}, {"multi_label": True}, {"hypothesis_template": "A {}!"}])
def test_zero_shot(both, options) -> None:
    options = {"candidate_labels": ["class", "text line", "name"], **options}
    ours, theirs = both(
        "zero-shot-classification", "sequence-classification", config=NLI, **options
    )
    assert close(ours(TEXTS), theirs(TEXTS))
    long = " ".join(TEXTS * 4)  # the text is cut, and not the label
    assert close(ours(long), theirs(long))
    own = ours(text=long, candidate_labels="one, two")
    assert close(own, theirs(long, candidate_labels="one, two"))


STRATEGIES = ("none", "simple", "first", "average", "max")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_tokens_and_entities(both, strategy) -> None:
    options = {"aggregation_strategy": strategy}
    ours, theirs = both("ner", "token-classification", config=TAGS, **options)
    assert close(ours(TEXTS), theirs(TEXTS))
    assert any(ours(TEXTS))


def test_entities_of_windows_words_and_other_labels(both) -> None:
    windows = {"aggregation_strategy": "simple", "stride": 8, "ignore_labels": ["A"]}
    long = " ".join(TEXTS * 4)
    ours, theirs = both("ner", "token-classification", config=TAGS, **windows)
    assert close(ours(long), theirs(long))
    words = [TEXTS[0].split(), TEXTS[1].split()]
    ours, _ = both("ner", "token-classification", config=TAGS, is_split_into_words=True)
    _, theirs = both("ner", "token-classification", config=TAGS)
    assert close(ours(words), theirs(words, is_split_into_words=True, delimiter=" "))


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"targets": ["class", "name"]}])
def test_masks(both, options) -> None:
    ours, theirs = both("fill-mask", "masked-lm", **options)
    one, two = "A [MASK] binds a name.", "A [MASK] binds a [MASK]."
    assert close(ours([one, two]), [theirs(one), theirs(two)])


def test_features(both) -> None:
    ours, theirs = both("feature-extraction", "embedding")
    assert close(ours(TEXTS), theirs(TEXTS))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_sentence_vectors_are_pooled_as_the_files_say(tmp_path, words, pooling) -> None:
    from tfcli.checkpoints.pooling import write_modules

    model = make_model(tmp_path / "model", words, "embedding")
    write_modules(pooling, 32, False, model)
    found = torch.tensor(tfcli.pipeline("sentence-embeddings", model, batch_size=3)(TEXTS))
    states = tfcli.pipeline("feature-extraction", model)(TEXTS)
    pick = {"mean": lambda x: x.mean(0), "cls": lambda x: x[0], "last": lambda x: x[-1]}[pooling]
    wanted = torch.stack([pick(torch.tensor(each[0])) for each in states])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    scaled = tfcli.pipeline("sentence-embeddings", model, normalize=True)(TEXTS[0])
    assert torch.tensor(scaled).norm() == pytest.approx(1, abs=1e-5)


def test_choices(tmp_path, words) -> None:
    from transformers import AutoTokenizer, BertForMultipleChoice

    model = make_model(tmp_path / "model", words, "multiple-choice")
    theirs = BertForMultipleChoice.from_pretrained(model).eval()
    given = AutoTokenizer.from_pretrained(model)(
        [TEXTS[0]] * 3, TEXTS, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        scores = theirs(**{k: v[None] for k, v in given.items()}).logits[0].softmax(-1)
    found = tfcli.pipeline("multiple-choice", model, top_k=None)(text=TEXTS[0], choices=TEXTS)
    assert close(
        {each["choice"]: each["score"] for each in found}, dict(enumerate(scores.tolist()))
    )
    assert found[0]["text"] == TEXTS[int(scores.argmax())]
    best = tfcli.pipeline("multiple-choice", model)(text=TEXTS[0], choices=TEXTS)
    assert close(best, found[0])


def test_documents_are_ranked(both) -> None:
    config = {"id2label": {"0": "LABEL_0"}}
    ours, _ = both("rerank", "sequence-classification", theirs="text-classification", config=config)
    _, theirs = both("text-classification", "sequence-classification", config=config)
    pairs = [{"text": TEXTS[0], "text_pair": text} for text in TEXTS]
    scores = [each["score"] for each in theirs(pairs)]
    found = ours(query=TEXTS[0], documents=TEXTS)
    assert [each["score"] for each in found] == sorted([each["score"] for each in found])[::-1]
    assert close({each["corpus_id"]: each["score"] for each in found}, dict(enumerate(scores)))


def test_what_is_refused(both, tmp_path, words) -> None:
    ours, _ = both("sentiment-analysis", "sequence-classification", config=LABELS)
    with pytest.raises(WorkError, match="'text' is int, and not a text"):
        ours(text=3)
    with pytest.raises(WorkError, match="there is room for 64"):
        ours(" ".join(TEXTS * 4))
    with pytest.raises(UsageError, match="unknown key 'topk'"):
        tfcli.pipeline("sentiment-analysis", ours.task.parts.name, topk=3)
    with pytest.raises(UsageError, match="documents are ranked by one"):
        tfcli.pipeline("rerank", ours.task.parts.name)
    with pytest.raises(UsageError, match="no task 'sentiment'"):
        tfcli.pipeline("sentiment", ours.task.parts.name)
    masks = make_model(tmp_path / "model", words, "masked-lm")
    with pytest.raises(WorkError, match=r"the text has no \[MASK\]"):
        tfcli.pipeline("fill-mask", masks)("no mask")
    with pytest.raises(UsageError, match="no effect"):
        tfcli.pipeline("ner", masks, stride=3)
