"""Tasks of classifiers of text, beside transformers' pipeline and scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from tests.conftest import SENTENCES
from tests.evaluate.heads.support import asked, values
from tests.predict.support import make_model
from tfcli.commands.app import run
from tfcli.errors import UsageError
from tfcli.evaluate.samples import read_samples

NAMES = ["good", "bad", "ugly"]
ROWS = [
    {"text": " ".join(sentence.split()[n : n + 7]), "label": (n + len(sentence)) % 3, "page": n}
    for n in range(6)
    for sentence in SENTENCES
]
GOLD = [row["label"] for row in ROWS]
TASK = {"output_type": "text-classification", "gold": "label"}


@pytest.fixture(scope="module")
def heads(tmp_path_factory, words):
    """A function that gives a tiny classifier with labels, and what transformers says of `ROWS`."""
    from transformers import pipeline

    def of(*names, **config):
        folder = tmp_path_factory.mktemp("model") / "model"
        labels = {"id2label": {str(number): name for number, name in enumerate(names)}}
        config = {"initializer_range": 1.0, **labels, **config}  # so that labels differ
        model = make_model(folder, words, "sequence-classification", **config)
        says = pipeline("text-classification", str(model), top_k=None)
        answers = says([row["text"] for row in ROWS])
        by_name = [{each["label"]: each["score"] for each in answer} for answer in answers]
        return model, np.array([[each[name] for name in names] for each in by_name])

    return of


@pytest.fixture(scope="module")
def three(heads):
    return heads(*NAMES)


def test_labels_are_judged_as_scikit_learn_does(evaluate, three):
    model, shares = three
    said = shares.argmax(1)
    assert len(set(said.tolist())) > 1
    names = ["acc", "balanced_accuracy", "f1_macro", "f1_micro", "f1_weighted", "mcc"]
    names += ["precision_macro", "recall_macro", "ece", "brier_score"]
    on_one = [*asked("f1", "roc_auc", positive="bad"), {"metric": "acc_top_k", "k": [1, 2]}]
    found = values(evaluate(model, ROWS, **TASK, metric_list=asked(*names) + on_one))
    mean = {"zero_division": 0.0}
    wanted = {
        "acc": sk.accuracy_score(GOLD, said),
        "balanced_accuracy": sk.balanced_accuracy_score(GOLD, said),
        **{
            f"f1_{how}": sk.f1_score(GOLD, said, average=how)
            for how in ("macro", "micro", "weighted")
        },
        "mcc": sk.matthews_corrcoef(GOLD, said),
        "precision_macro": sk.precision_score(GOLD, said, average="macro", **mean),
        "recall_macro": sk.recall_score(GOLD, said, average="macro", **mean),
        "brier_score": np.square(shares - np.eye(3)[GOLD]).sum(1).mean(),
        "f1": sk.f1_score(GOLD, said, labels=[1], average="macro"),
        "roc_auc": sk.roc_auc_score(np.equal(GOLD, 1), shares[:, 1]),
        "acc_top_1": sk.accuracy_score(GOLD, said),
        "acc_top_2": sk.top_k_accuracy_score(GOLD, shares, k=2),
    }
    bins = np.minimum((shares.max(1) * 10).astype(int), 9)
    gaps = [abs((shares.max(1) - (said == GOLD))[bins == each].sum()) for each in range(10)]
    assert found == pytest.approx({**wanted, "ece": sum(gaps) / len(ROWS)}, abs=1e-5)


def test_samples_say_what_each_is_worth(evaluate, three, tmp_path):
    model, shares = three
    flags = ("--output", tmp_path / "out", "--limit", 9)
    found = evaluate(model, ROWS, *flags, **TASK, metadata={"cluster": "page", "version": 2})
    assert set(values(found)) == {"acc", "f1_macro"}
    (task,) = found["tasks"]
    assert (task["available"], found["samples"]) == (len(ROWS), 9)
    assert found["conditions"]["task_version"] == "2" and found["bos_tokens"] == 1
    samples = read_samples(tmp_path / "out")
    assert [sample.cluster for sample in samples] == [str(row["page"]) for row in ROWS[:9]]
    accuracy = found["measures"][0]
    assert accuracy["standard_error"] > 0 and accuracy["n"] == 9
    assert np.mean([sample.scores["acc"] for sample in samples]) == accuracy["value"]
    assert samples[4].prompt == ROWS[4]["text"] and samples[4].target == NAMES[GOLD[4]]
    assert samples[4].answer["label"] == NAMES[shares[4].argmax()]


def test_two_models_compare_and_a_report_shows_them(evaluate, three, heads, tmp_path, capsys):
    for name, model in (("a", three[0]), ("b", heads(*NAMES, initializer_range=0.6)[0])):
        evaluate(model, ROWS, "--output", tmp_path / name, **TASK)
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["measures"]] == ["acc"]
    assert found["left_out"] == ["f1_macro"]
    page = tmp_path / "page"
    assert run(["report", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(page)]) == 0
    text = (page / "report.html").read_text()
    assert "Task heads" in text and "f1_macro" in text and ROWS[0]["text"] in text


def test_answers_are_kept_and_a_question_that_comes_again_is_asked_once(
    evaluate, three, monkeypatch
):
    import tfcli.evaluate.heads.asking as asking

    sizes, whole = [], asking.answers

    def counted(task, rows, batch_size):
        sizes.append(len(rows))
        return whole(task, rows, batch_size)

    monkeypatch.setattr(asking, "answers", counted)
    first = evaluate(three[0], ROWS[:4] + ROWS[:1], **TASK)
    again = evaluate(three[0], ROWS[:4] + ROWS[:1], **TASK, metric_list=asked("acc"))
    assert sizes == [4] and values(again)["acc"] == values(first)["acc"]
    evaluate(three[0], ROWS[:6], **TASK)
    assert sizes == [4, 2]
    evaluate(three[0], ROWS[:6], **TASK, options={"truncation": True})
    assert sizes == [4, 2, 6], "other options are another question"


@pytest.mark.parametrize(
    ("label", "labels"),
    [
        (lambda n: NAMES[n], None),
        (str, None),
        (lambda n: 2 - n, NAMES[::-1]),
        (lambda n: "xyz"[n], dict(zip("xyz", NAMES, strict=True))),
        (lambda n: n + 5, {str(n + 5): name for n, name in enumerate(NAMES)}),
    ],
    ids=["names", "digits", "listed", "mapped", "mapped numbers"],
)
def test_golds_are_names_numbers_or_what_the_task_says_of_them(evaluate, three, label, labels):
    rows = [{"review": row["text"], "stars": label(row["label"])} for row in ROWS]
    keys = {**TASK, "gold": "stars", "columns": {"text": "review"}, "labels": labels}
    found = evaluate(three[0], rows, **keys, metric_list=asked("acc"))
    assert values(found)["acc"] == np.mean(three[1].argmax(1) == GOLD)


def test_several_labels_of_a_text(evaluate, heads):
    model, shares = heads(*NAMES, problem_type="multi_label_classification")
    rows = [{**row, "label": NAMES[: row["label"]]} for row in ROWS]
    right = np.array([[n < row["label"] for n in range(3)] for row in ROWS]).astype(int)
    for least in (0.5, 0.7):
        said = (shares > least).astype(int)
        keys = {} if least == 0.5 else {"threshold": least}
        names = ["acc", "f1_macro", "f1_micro", "f1_weighted"]
        found = values(evaluate(model, rows, **TASK, **keys, metric_list=asked(*names)))
        wanted = {
            f"f1_{how}": sk.f1_score(right, said, average=how, zero_division=0)
            for how in ("macro", "micro", "weighted")
        }
        assert found == pytest.approx({**wanted, "acc": (right == said).all(1).mean()})


def test_a_number_for_a_pair_of_texts(evaluate, heads, words):
    model, said = heads("score", problem_type="regression")
    gold = [row["label"] + 0.25 for row in ROWS]
    names = ["mse", "mae", "pearson", "spearman", "r2"]
    rows = [{**row, "label": each} for row, each in zip(ROWS, gold, strict=True)]
    found = values(evaluate(model, rows, **TASK, metric_list=asked(*names)))
    said = said[:, 0]
    wanted = {
        "mse": sk.mean_squared_error(gold, said),
        "mae": sk.mean_absolute_error(gold, said),
        "pearson": stats.pearsonr(said, gold).statistic,
        "spearman": stats.spearmanr(said, gold).statistic,
        "r2": sk.r2_score(gold, said),
    }
    assert found == pytest.approx(wanted, rel=1e-4)
    pairs = [{**row, "text_pair": None if n % 2 else "a class"} for n, row in enumerate(rows)]
    assert values(evaluate(model, pairs, **TASK))["mse"] != pytest.approx(found["mse"])


@pytest.mark.parametrize(
    ("keys", "what", "fix"),
    [
        ({"metric_list": asked("f1_makro")}, "no metric 'f1_makro'", "'f1_macro'"),
        ({"metric_list": asked("mse")}, "each sample has one label", "known: acc"),
        ({"metric_list": asked("roc_auc")}, "the model has 3", "positive: good"),
        ({"metric_list": asked("roc_auc", positive="odd")}, "the label 'odd'", "labels"),
        ({"metric_list": asked("acc_top_k", k=0)}, "k of acc_top_k", ""),
        ({"metric_list": asked("acc", aggregation="median")}, "aggregated by mean", ""),
        ({"gold": "lable"}, "no 'lable'", "'label'"),
        ({"gold": None}, "gold names the column", ""),
        ({"columns": {"text": "review"}}, "no 'review'", "known: "),
        ({"columns": {"txt": "text"}}, "asks no 'txt'", "text_pair"),
        ({"gold": "text"}, "which the model does not have", "labels:"),
        ({"labels": ["good", "bad", "evil"]}, "no label 'evil'", "known: good"),
        ({"options": {"top_k": 2}}, "not asked for here", ""),
        ({"options": {"truncaton": True}}, "truncaton", "truncation"),
        ({"output_type": "text-clasification"}, "no output_type", "text-classification"),
        ({"doc_to_text": "text"}, "no key 'doc_to_text'", ""),
        ({"corpus_split": "test"}, "corpus_split has no effect", ""),
        ({"threshold": 0.3}, "threshold has no effect", ""),
        ({"metadata": {"cluster": "book"}}, "no column 'book'", "page"),
        ({"test_split": "tset"}, "no split 'tset'", "'test'"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused_before_weights_are_read(
    evaluate, three, monkeypatch, keys, what, fix
):
    monkeypatch.setattr("tfcli.predict.load.load_ready", None)
    error = evaluate(three[0], ROWS, **{**TASK, **keys}, code=2)
    assert what in error["what"]
    assert fix in (error["fix"] or "")


@pytest.mark.parametrize("flags", [("--shots", 1), ("--chat",), ("--bos", "none")], ids=str)
def test_keys_of_prompts_have_no_effect(evaluate, three, flags):
    assert "has no effect" in evaluate(three[0], ROWS, *flags, **TASK, code=2)["what"]


def test_a_model_without_the_head_is_refused(evaluate, tiny_llama, three, monkeypatch):
    monkeypatch.setattr("tfcli.predict.load.load_ready", None)
    error = evaluate(three[0], ROWS, **{**TASK, "output_type": "image-classification"}, code=2)
    assert "bert has no head for image-classification" in error["what"]


def test_tasks_of_heads_and_of_language_models_are_not_mixed(evaluate, three, tmp_path, capsys):
    from tests.evaluate.tasks.files import CHOICE, write_task

    evaluate(three[0], ROWS[:2], **TASK)
    write_task(tmp_path, CHOICE)
    path = Path(tmp_path / "both.yaml")
    path.write_text("group: both\ntask: [choose, heads]\n")
    assert run(["eval", str(three[0]), "--task", str(path), "--json", "--quiet"]) == 2
    assert "no model is both" in json.loads(capsys.readouterr().out)["error"]["what"]


def test_the_memory_of_such_a_step_is_not_counted(three):
    from tfcli.console import Console
    from tfcli.estimate.run import Question, estimate
    from tfcli.evaluate.spec import EvalSpec

    spec = EvalSpec(model=str(three[0]), task="digits")
    with pytest.raises(UsageError, match="eval on image-classification is not counted"):
        estimate(spec, Question(), Console.silent())
