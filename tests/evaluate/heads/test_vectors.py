"""Tasks of sentence vectors: likeness and search, beside scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

import tfcli
from tests.conftest import SENTENCES
from tests.evaluate.heads.support import asked, values
from tests.predict.support import make_model
from tfcli.evaluate.heads.ranking import average_precision, ndcg, precision, recall, reciprocal_rank
from tfcli.evaluate.samples import read_samples

PAIRS = [
    {"sentence1": one, "sentence2": other, "score": (n + m) % 4}
    for n, one in enumerate(SENTENCES)
    for m, other in enumerate(SENTENCES)
    if n < m
]
DOCUMENTS = [
    {"_id": f"d{n}", "title": " ".join(text.split()[:2]), "text": " ".join(text.split()[2:9])}
    for n, text in enumerate(SENTENCES)
]
QUERIES = [{"_id": f"q{n}", "text": " ".join(SENTENCES[n].split()[3:6])} for n in range(3)]
GRADES = [{"d0": 2, "d1": 1}, {"d3": 1}, {"d0": 1, "d2": 3}]
SEARCH = {"output_type": "retrieval", "corpus_split": "corpus"}


@pytest.fixture(scope="module")
def model(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("vectors") / "model"
    return make_model(folder, words, "embedding", initializer_range=1.0)


@pytest.fixture(scope="module")
def vectors(model):
    """A function from texts to their vectors, [n, d], of length 1."""
    pipe = tfcli.pipeline("sentence-embeddings", model, batch_size=4)
    return lambda texts: np.array(pipe(list(texts)))


def test_likeness_is_correlated_with_cosines(evaluate, model, vectors, tmp_path):
    keys = {"output_type": "sts", "gold": "score"}
    found = evaluate(model, PAIRS, "--output", tmp_path / "out", **keys)
    one, other = (vectors(row[f"sentence{n}"] for row in PAIRS) for n in (1, 2))
    cosines, golds = (one * other).sum(1), [row["score"] for row in PAIRS]
    assert values(found) == pytest.approx(
        {
            "spearman": stats.spearmanr(cosines, golds).statistic,
            "pearson": stats.pearsonr(cosines, golds).statistic,
        },
        abs=1e-5,
    )
    assert read_samples(tmp_path / "out")[2].answer == pytest.approx(cosines[2], abs=1e-5)
    error = evaluate(model, [{**PAIRS[0], "score": "much"}], **keys, code=2)
    assert "gold of sample 0 is no number" in error["what"]
    error = evaluate(model, PAIRS, **keys, metric_list=asked("speerman"), code=2)
    assert "'spearman'" in error["fix"]


@pytest.fixture(scope="module")
def products(vectors):
    documents = vectors(f"{each['title']} {each['text']}" for each in DOCUMENTS)
    return vectors(each["text"] for each in QUERIES) @ documents.T


@pytest.fixture(scope="module")
def splits():
    rows = [
        {"query-id": query["_id"], "corpus-id": id, "score": grade}
        for query, grades in zip(QUERIES, GRADES, strict=True)
        for id, grade in {"d2": 0, **grades}.items()
    ]
    return {"test": QUERIES, "corpus": DOCUMENTS, "relevance": rows}


def test_documents_are_ranked_as_beirs_files_say(evaluate, model, splits, products, tmp_path):
    names = asked("ndcg_at_k", "recall_at_k", "precision_at_k", "mrr_at_k", k=[1, 3])
    keys = {**SEARCH, "relevance_split": "relevance", "metric_list": [*names, *asked("map")]}
    found = evaluate(model, splits, "--output", tmp_path / "out", **keys)
    grades = np.array([[g.get(d["_id"], 0) for d in DOCUMENTS] for g in GRADES])
    wanted = {
        "map": np.mean(
            [sk.average_precision_score(g > 0, p) for g, p in zip(grades, products, strict=True)]
        )
    }
    order = np.take_along_axis(grades, np.argsort(-products, axis=1), axis=1)
    for k in (1, 3):
        hits = order[:, :k] > 0
        wanted[f"ndcg_at_{k}"] = sk.ndcg_score(grades, products, k=k)
        wanted[f"precision_at_{k}"] = hits.mean()
        wanted[f"recall_at_{k}"] = (hits.sum(1) / (grades > 0).sum(1)).mean()
        ranks = np.where(hits.any(1), hits.argmax(1) + 1, np.inf)
        wanted[f"mrr_at_{k}"] = (1 / ranks).mean()
    assert values(found) == pytest.approx(wanted, abs=1e-5)
    assert all(each["standard_error"] is not None for each in found["measures"])
    sample = read_samples(tmp_path / "out")[2]
    assert sample.target == GRADES[2] and sample.prompt == QUERIES[2]["text"]
    assert sample.answer == [f"d{place}" for place in np.argsort(-products[2])]
    in_column = {
        "test": [{**q, "docs": g} for q, g in zip(QUERIES, GRADES, strict=True)],
        "corpus": DOCUMENTS,
    }
    keys = {**SEARCH, "gold": "docs", "metric_list": keys["metric_list"]}
    assert values(evaluate(model, in_column, **keys)) == values(found)


def test_queries_without_a_relevant_document_are_left_out(evaluate, model, splits):
    rows = [row for row in splits["relevance"] if row["query-id"] != "q1"]
    keys = {**SEARCH, "relevance_split": "relevance"}
    found = evaluate(model, {**splits, "relevance": rows}, **keys)
    assert found["samples"] == 2 and found["tasks"][0]["available"] == 3
    assert set(values(found)) == {"ndcg_at_10", "recall_at_10", "mrr_at_10", "map"}
    assert evaluate(model, splits, "--limit", 1, **keys)["samples"] == 1


def test_vectors_are_kept(evaluate, model, splits, monkeypatch):
    keys = {**SEARCH, "relevance_split": "relevance"}
    first = evaluate(model, splits, **keys)
    import tfcli.evaluate.heads.asking as asking

    monkeypatch.setattr(asking, "answers", None)
    assert values(evaluate(model, splits, **keys)) == values(first)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"corpus_split": None}, "needs corpus_split"),
        ({"gold": "docs", "relevance_split": "relevance"}, "either gold"),
        ({}, "either gold"),
        ({"gold": "_id"}, "no relevant document"),
        ({"relevance_split": "relevance", "columns": {"document": "body"}}, "no 'body'"),
        ({"relevance_split": "corpus"}, "no 'query-id'"),
        ({"relevance_split": "odd"}, "the document 'd9', which the corpus does not have"),
        ({"relevance_split": "relevance", "metric_list": asked("ndgc_at_k")}, "no metric"),
        ({"relevance_split": "relevance", "corpus_split": "twice"}, "two documents"),
    ],
    ids=str,
)
def test_searches_that_are_none_are_refused(evaluate, model, splits, monkeypatch, keys, what):
    monkeypatch.setattr("tfcli.predict.load.load_ready", None)
    more = {
        "odd": [{"query-id": "q0", "corpus-id": "d9", "score": 1}],
        "twice": [*DOCUMENTS, DOCUMENTS[0]],
    }
    error = evaluate(model, {**splits, **more}, **{**SEARCH, **keys}, code=2)
    assert what in error["what"]


def test_a_ranking_by_hand():
    order, grades = [4, 2, 0, 1, 3], {2: 1.0, 1: 3.0}
    assert precision(order, grades, 4) == 0.5 and recall(order, grades, 3) == 0.5
    assert reciprocal_rank(order, grades, 3) == 0.5 and reciprocal_rank(order, grades, 1) == 0
    assert average_precision(order, grades) == (1 / 2 + 2 / 4) / 2
    log = np.log2
    wanted = (1 / log(3) + 3 / log(5)) / (3 / log(2) + 1 / log(3))
    assert ndcg(order, grades, 5) == pytest.approx(wanted)
