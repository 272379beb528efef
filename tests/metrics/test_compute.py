"""Metrics by name: values beside the libraries' own."""

from __future__ import annotations

import importlib.util
import random

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tfcli.errors import UsageError
from tfcli.metrics import compute as compute_file
from tfcli.metrics.compute import compute, missing
from tfcli.metrics.spec import KINDS, METRICS
from tfcli.metrics.tags import has_entities
from tfcli.metrics.texts import errors

CHANCE = random.Random(0)
SAID, RIGHT = ([CHANCE.randrange(3) for _ in range(50)] for _ in range(2))
WORDS = ["the", "cat", "sat", "on", "a", "mat", ",", "an", "old", "dog", "ran"]


def text(chance) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 6)))


def test_labels_have_scikit_learns_values():
    found = compute(KINDS["labels"], SAID, RIGHT)
    assert found["accuracy"] == sklearn_metrics.accuracy_score(RIGHT, SAID)
    assert found["f1"] == sklearn_metrics.f1_score(RIGHT, SAID, average="macro")
    assert found["matthews"] == sklearn_metrics.matthews_corrcoef(RIGHT, SAID)
    assert found["balanced_accuracy"] == sklearn_metrics.balanced_accuracy_score(RIGHT, SAID)
    for way in ("micro", "weighted"):
        assert found[f"f1_{way}"] == sklearn_metrics.f1_score(RIGHT, SAID, average=way)
    assert found["f1_micro"] == found["accuracy"] and found["recall"] == found["balanced_accuracy"]
    assert len({round(each, 6) for each in found.values()}) == 6
    assert compute(["balanced_accuracy"], [0, 2, 1], [0, 0, 1])["balanced_accuracy"] == 0.75
    with pytest.raises(UsageError, match="one label a row"):
        compute(["balanced_accuracy"], [[1, 0]], [[1, 0]])
    several = compute(["accuracy", "f1"], [[1, 0], [1, 1]], [[1, 0], [0, 1]])
    assert several["accuracy"] == 0.5, "all labels of a row count together"
    assert several["f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_numbers_have_errors_and_correlations():
    found = compute(KINDS["numbers"], [1.0, 2.0, 4.0], [1.0, 3.0, 3.5])
    assert found["mse"] == pytest.approx((1 + 0.25) / 3)
    assert found["mae"] == pytest.approx(0.5)
    assert found["pearson"] == pytest.approx(np.corrcoef([1, 2, 4], [1, 3, 3.5])[0, 1])
    assert found["spearman"] == pytest.approx(1)
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score([1.0, 3.0, 3.5], [1.0, 2.0, 4.0]))
    assert np.isnan(compute(["r2"], [1.0, 2.0], [1.0, 1.0])["r2"])
    assert np.isnan(compute(["pearson"], [1.0, 1.0], [1.0, 2.0])["pearson"])


@pytest.mark.parametrize(
    ("said", "right", "exact", "overlap"),
    [
        ("The  Cat!", ["a cat"], 1, 1),  # capitals, marks, articles and spaces do not count
        ("old cat sat", ["cat sat down"], 0, 2 / 3),
        ("cat cat", ["cat"], 0, 2 / 3),  # each word as often as both have it
        ("the cat", ["dog", "black cat"], 0, 2 / 3),  # the best of several
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("a", ["the"], 1, 1),
    ],
)
def test_answers_count_as_in_squads_script(said, right, exact, overlap):
    found = compute(KINDS["answers"], [said], [right])
    assert found == {"exact_match": exact, "answer_f1": pytest.approx(overlap)}


def test_the_place_of_what_is_looked_for():
    queries = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    candidates = [[1.0, 0.0], [3.0, 2.0], [0.0, 1.0]]  # products: 1 3 0, 0 2 1, 1 5 1
    found = compute(KINDS["retrieval"], queries, candidates)
    # The third's own has the same product as another, which counts before it.
    assert found["mrr"] == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
    assert found["recall_at_1"] == pytest.approx(1 / 3) and found["recall_at_10"] == 1


def test_pairs_are_right_where_the_better_one_has_more():
    assert compute(["pair_accuracy"], [1.0, 2.0, 3.0], [0.0, 2.0, 4.0])["pair_accuracy"] == 1 / 3


def test_judged_answers_have_a_mean_reward_of_either_kind():
    found = compute(KINDS["judgements"], [1.0, 4.0, 3.0], [True, False, True])
    assert found == {"desirable_reward": 2, "undesirable_reward": 4, "reward_margin": -2}
    alone = compute(KINDS["judgements"], [1.0], [True])
    assert alone["desirable_reward"] == 1 and np.isnan(alone["reward_margin"])


def test_entities_are_those_of_seqeval():
    right = [["B-A", "I-A", "O", "B-B"], ["O", "B-A"]]
    said = [["B-A", "O", "O", "B-B"], ["O", "B-A"]]
    found = compute(KINDS["tags"], said, right)
    assert found["tag_accuracy"] == pytest.approx(5 / 6)
    assert found["entity_precision"] == found["entity_recall"] == pytest.approx(2 / 3)
    assert has_entities(["O", "B-A", "I-A"]) and not has_entities(["OTHER", "MARK"])


def test_texts_have_the_values_of_their_libraries():
    import jiwer
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    chance = random.Random(2)
    said, right = ([text(chance) for _ in range(30)] for _ in range(2))
    found = compute(KINDS["texts"], said, right)
    assert found["bleu"] == sacrebleu.corpus_bleu(said, [right]).score
    assert found["chrf"] == sacrebleu.corpus_chrf(said, [right]).score
    assert found["wer"] == jiwer.wer(right, said)
    assert found["cer"] == jiwer.cer(right, said)
    for name in ("wer", "cer"):
        counts = [errors(name, *each) for each in zip(right, said, strict=True)]
        wrong, size = (sum(each) for each in zip(*counts, strict=True))
        assert wrong / size == pytest.approx(found[name])
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    wanted = [scorer.score(r, s)["rougeL"].fmeasure for r, s in zip(right, said, strict=True)]
    assert found["rougeL"] == pytest.approx(np.mean(wanted))


def test_evaluate_loads_the_module_and_gives_the_same_values(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import evaluate

    from tfcli.metrics import module

    for name, said, right in (
        ("f1", SAID, RIGHT),
        ("answer_f1", ["a cat", "dog"], [["cat", "a dog"], []]),
        ("pearson", [1.0, 2.0, 4.0], [1.0, 3.0, 3.5]),
    ):
        loaded = evaluate.load(module.__file__, name, cache_dir=str(tmp_path), keep_in_memory=True)
        assert loaded.compute(predictions=said, references=right) == compute([name], said, right)


def test_unknown_metrics_and_absent_libraries_are_named(monkeypatch):
    with pytest.raises(UsageError, match="not metrics of one kind"):
        compute(["f1", "mse"], [0], [0])
    found = importlib.util.find_spec
    monkeypatch.setattr(
        compute_file, "find_spec", lambda name: None if name == "sacrebleu" else found(name)
    )
    assert missing(["accuracy", "bleu"]) == {"bleu": "sacrebleu"}
    with pytest.raises(UsageError, match="bleu is computed by sacrebleu") as error:
        compute(["bleu"], ["a"], ["a"])
    assert error.value.fix == "pip install 'tfcli[metrics]'"


def test_every_metric_is_computed_by_its_kind():
    assert sorted(name for names in KINDS.values() for name in names) == sorted(METRICS)
