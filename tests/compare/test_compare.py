"""`tfcli compare`: what two evaluations show, by what they do not compare, and exit codes."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfcli.commands.app import run
from tfcli.files import write_json
from tfcli.recipe.digests import InputDigests
from tfcli.recipe.record import RECORD, make_record, read_record, step_key
from tfcli.score.spec import ScoreSpec

CONDITIONS = {"task": "demo", "data_sha256": "d" * 64, "tokenizer_sha256": "t" * 64, "dtype": "f32"}
MEASURE = {"name": "accuracy", "value": 0.5, "unit": "share", "higher_is_better": True, "n": 1}


def evaluation(
    folder: Path, samples: Sequence[dict[str, Any]], *, more: Any = None, **conditions: Any
) -> Path:
    """A finished step with the result that an evaluation has."""
    folder.mkdir()
    lines = [{"task": "demo", "cluster": None, **sample} for sample in samples]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {
        "predictions": "p",
        "references": "r",
        "empty": 0,
        "conditions": {"samples": 1, "normalizer": None, "sentence_lines": None}
        | CONDITIONS
        | conditions
        | {"task": "score"},
        "measures": [MEASURE, {**MEASURE, "name": "perplexity", "higher_is_better": False}],
        **(more or {}),
    }
    data = folder.with_suffix(".txt")
    data.write_text("x")
    spec = ScoreSpec(predictions=str(data), references=str(data), output=str(folder))
    inputs = InputDigests(spec)
    started = datetime(2026, 11, 20, tzinfo=UTC)
    write_json(
        folder / RECORD, make_record(spec, step_key(spec, inputs), inputs, folder, result, started)
    )
    return folder


def scored(values: Sequence[float], name: str = "accuracy", **keys: Any) -> list[dict[str, Any]]:
    return [{"id": str(n), "scores": {name: float(v)}, **keys} for n, v in enumerate(values)]


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """Compares two lists of samples; gives the JSON."""
    monkeypatch.chdir(tmp_path)

    def call(a, b, *flags: str, code: int = 0, of_a: Any = None, of_b: Any = None) -> dict:
        evaluation(Path("a"), a, **(of_a or {}))
        evaluation(Path("b"), b, **(of_b or {}))
        capsys.readouterr()
        assert run(["compare", "a", "b", *flags, "--json", "--quiet"]) == code
        return json.loads(capsys.readouterr().out)

    return call


MADE = np.random.default_rng(4)
EASY = MADE.random(300)
ANSWERS = (MADE.random(300) < EASY).astype(float)
BETTER = np.where(MADE.random(300) < 0.2, 1.0, ANSWERS)
AGAIN = np.where(MADE.random(300) < 0.1, MADE.random(300) < EASY, ANSWERS).astype(float)


def test_a_better_model_is_better_and_the_other_way_worse(compare, tmp_path):
    result = compare(scored(ANSWERS), scored(BETTER))
    (found,) = result["measures"]
    assert found["verdict"] == "better" and found["p"] < 0.001
    assert found["difference"] == pytest.approx(BETTER.mean() - ANSWERS.mean())
    assert (found["a"], found["b"]) == pytest.approx((ANSWERS.mean(), BETTER.mean()))
    assert result["left_out"] == ["perplexity"]
    assert run(["compare", "b", "a", "--fail-on", "worse", "--quiet"]) == 1
    assert run(["compare", "a", "b", "--fail-on", "worse", "--quiet"]) == 0
    assert run(["compare", "a", "b", "--fail-on", "different", "--quiet"]) == 1


def test_a_small_difference_is_not_shown_and_says_what_would_show_it(compare, capsys):
    (found,) = compare(scored(ANSWERS), scored(AGAIN))["measures"]
    assert found["verdict"] == "not shown" and found["p"] > 0.05
    assert found["smallest_difference"] > abs(found["difference"]) > 0
    assert found["samples_needed"] > 300
    assert run(["compare", "a", "b", "--fail-on", "different"]) == 0
    said = capsys.readouterr().out
    assert "no difference is shown" in said and f"{found['samples_needed']:,}" in said


def test_few_samples_are_too_few(compare, capsys):
    (found,) = compare(scored([0] * 5), scored([1] * 5))["measures"]
    assert found["verdict"] == "too few" and found["smallest_difference"] is None
    assert run(["compare", "a", "b"]) == 0
    assert "5 independent samples are too few to show any difference" in capsys.readouterr().out


def test_equal_scores_are_the_same(compare):
    (found,) = compare(scored(ANSWERS), scored(ANSWERS))["measures"]
    assert (found["verdict"], found["p"], found["difference"]) == ("same", 1, 0)


def test_samples_of_a_cluster_count_as_one(compare):
    def in_clusters(values, size):
        return [sample | {"cluster": str(n // size)} for n, sample in enumerate(scored(values))]

    # Ten answers to each of thirty questions: all of a question's are right, or wrong.
    a, b = np.repeat(MADE.random((2, 30)) < 0.5, 10, axis=1).astype(float)
    (found,) = compare(in_clusters(a, 10), in_clusters(b, 10))["measures"]
    assert (found["samples"], found["units"]) == (300, 30)
    (by_question,) = _compared_again(compare, a[::10], b[::10])
    assert found["standard_error"] == pytest.approx(by_question["standard_error"])
    assert found["p"] == pytest.approx(by_question["p"])


def _compared_again(compare, a, b):
    for name in ("a", "b"):
        shutil.rmtree(name)
    return compare(scored(a), scored(b))["measures"]


def test_weights_count(compare):
    weights = MADE.integers(1, 9, 40)
    a, b = MADE.random((2, 40))

    def weighted(values):
        both = zip(scored(values), weights, strict=True)
        return [sample | {"weights": {"accuracy": float(weight)}} for sample, weight in both]

    (found,) = compare(weighted(a), weighted(b))["measures"]
    assert found["a"] == pytest.approx(np.average(a, weights=weights))
    assert found["difference"] == pytest.approx(np.average(b - a, weights=weights))


def test_several_measures_share_the_false_alarms(compare):
    def both(values, others):
        return [
            {"id": str(n), "scores": {"accuracy": float(one), "loss": float(other)}}
            for n, (one, other) in enumerate(zip(values, others, strict=True))
        ]

    loss = {**MEASURE, "name": "loss", "higher_is_better": False}
    more = {"more": {"measures": [MEASURE, loss]}}
    a, b = both(ANSWERS, EASY), both(AGAIN, EASY + MADE.normal(0.03, 0.3, 300))
    result = compare(a, b, of_a=more, of_b=more)
    alone = _json(["compare", "a", "b", "--measures", "loss"])
    (_, together), (single,) = result["measures"], alone["measures"]
    assert together["p"] == pytest.approx(2 * single["p"])
    assert together["smallest_difference"] > single["smallest_difference"]


def _json(words: list[str]) -> dict:
    assert run([*words, "--output", "out", "--quiet"]) == 0
    record = read_record(Path("out"))
    assert record is not None
    return record["result"]


def test_tasks_are_compared_one_by_one(compare):
    def of_tasks(values):
        return [
            {"id": str(n), "task": task, "scores": {"accuracy": float(value)}}
            for task in ("x", "y")
            for n, value in enumerate(values)
        ]

    def tasks(**conditions):
        made = [
            {"task": task, "conditions": {**CONDITIONS, "task": task, **conditions}}
            | {"measures": [MEASURE | {"name": "accuracy"}]}
            for task in ("x", "y")
        ]
        return {"more": {"tasks": made}}

    result = compare(of_tasks(ANSWERS), of_tasks(BETTER), of_a=tasks(), of_b=tasks())
    assert [each["name"] for each in result["measures"]] == ["x/accuracy", "y/accuracy"]
    assert {each["verdict"] for each in result["measures"]} == {"better"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_sha256": "e" * 64}, "data_sha256 is dddddddddddd… and eeeeeeeeeeee…"),
        ({"shots": 5}, "shots is none and 5"),
        ({"tokenizer_sha256": None}, "tokenizer_sha256 is tttttttttttt… and none"),
    ],
)
def test_unlike_conditions_are_refused_by_name_and_may_be_allowed(compare, changes, said):
    error = compare(scored(ANSWERS), scored(BETTER), code=2, of_b=changes)["error"]
    assert said in error["what"]
    (name,) = changes
    assert run(["compare", "a", "b", "--allow", name, "--quiet"]) == 0


def test_how_a_model_is_run_may_differ_and_is_shown(compare):
    result = compare(scored(ANSWERS), scored(BETTER), of_b={"dtype": "bf16"})
    assert result["conditions"] == [{"name": "dtype", "a": "f32", "b": "bf16"}]


@pytest.mark.parametrize(
    ("b", "flags", "code", "what"),
    [
        (scored(ANSWERS[:-1]), [], 2, "accuracy was measured on other samples: only A has 299"),
        (
            scored(ANSWERS, weights={"accuracy": 2.0}),
            [],
            2,
            "accuracy of sample 0 is over 1 in A and over 2 in B",
        ),
        (scored(ANSWERS, cluster=None), ["--measures", "acuracy"], 2, "no measure 'acuracy'"),
        (scored(ANSWERS), ["--measures", "perplexity"], 2, "perplexity is no mean over samples"),
        (scored(ANSWERS, "other"), [], 2, "no measure is a mean over the samples of both"),
        (scored(ANSWERS), ["--allow", "shots"], 2, "there is no condition 'shots'"),
        (scored(ANSWERS), ["--allow", "data_sha256"], 2, "data_sha256 does not differ"),
        ([{"id": "0", "scores": {"accuracy": None}}], [], 1, "a sample has no finite score"),
    ],
)
def test_what_cannot_be_compared_is_refused(compare, b, flags, code, what):
    assert what in compare(scored(ANSWERS), b, *flags, code=code)["error"]["what"]


def test_one_sample_has_no_spread(compare):
    assert "no spread" in compare(scored([1]), scored([0]), code=2)["error"]["what"]


def test_samples_that_were_edited_are_refused(compare):
    compare(scored(ANSWERS), scored(BETTER))
    Path("b/samples.jsonl").write_text(Path("a/samples.jsonl").read_text())
    assert run(["compare", "a", "b", "--quiet"]) == 1


def test_scores_of_predictions_are_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    right = [f"the cat sat on mat {n} and slept" for n in range(12)]
    Path("right.txt").write_text("\n".join(right))
    Path("one.txt").write_text("\n".join(f"a dog ran {n}" for n in range(12)))
    Path("other.txt").write_text("\n".join(text.replace("slept", "ran") for text in right))
    flags = ["--metrics", "rougeL", "--metrics", "bleu", "--quiet"]
    for name in ("one", "other"):
        assert run(["score", f"{name}.txt", "right.txt", "-o", name, *flags]) == 0
    capsys.readouterr()
    assert run(["compare", "one", "other", "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["verdict"]) for each in result["measures"]] == [
        ("rougeL", "better")
    ]
    assert result["left_out"] == ["bleu"]
