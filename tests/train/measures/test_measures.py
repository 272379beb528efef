"""What is measured on a validation, beside the same of transformers' predictions."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from seqeval.metrics import f1_score
from sklearn import metrics as sklearn_metrics
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import BERT, LLAMA, T5, made, theirs
from tests.train.objectives.test_processes import CHILD
from tests.train.test_ranks import in_processes
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.metrics.compute import compute
from tfcli.process_group import ALONE
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import load_tokenizer
from tfcli.train.log import read_metrics
from tfcli.train.measures.measure import Better
from tfcli.train.objectives.objective import Material
from tfcli.train.objectives.registry import make_objective
from tfcli.train.prepare import new_config
from tfcli.train.run import run
from tfcli.train.strategies.single import Single
from tfcli.train.validate import Validation


def texts(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=2 + number % 4)) for number in range(count)]


class Measured:
    """A new model's validation: the figures, and all that they come from."""

    def __init__(self, spec) -> None:
        folder = Path(spec.tokenizer)
        self.spec, self.tokenizer = spec, load_tokenizer(folder)
        config = new_config(spec.config, self.tokenizer)
        self.objective = make_objective(spec)
        given = Material(spec, self.tokenizer, folder, Console.silent(), config)
        self.examples = list(self.objective.feed(given).validation)
        self.measure = self.objective.measure(spec.metrics, given)
        self.model = made(self.objective, config.replace(**self.objective.config_keys))
        self.start_passes = 0
        self.objective.begin(self._start)
        places = range(len(self.examples))
        batches = [places[start : start + 3] for start in places[::3]]
        validation = Validation(self.examples, batches, self.objective, "float32", self.measure)
        self.figures = validation.figures(self.model, Single(ALONE), lambda: False)

    def _start(self, ref):
        """The model that losses compare with, whose forward passes are counted."""
        model = made(self.objective, self.model.config, seed=1)

        def count(*_):
            self.start_passes += 1

        model.register_forward_pre_hook(count)
        return model

    @torch.no_grad()
    def logits(self, auto, folder) -> tuple[torch.Tensor, torch.Tensor]:
        """transformers' logits of all examples at once, and the labels."""
        batch = dict(self.objective.collate(self.examples))
        return theirs(self.model, folder, auto)(**batch).logits, batch["labels"]


@pytest.fixture
def measured(spec_of, rows_file):
    """A function that measures a new model on some rows."""

    def make(objective, rows, **changes):
        held = rows_file(rows, "validation.jsonl")
        return Measured(spec_of(objective, rows, validation=held, **changes))

    return make


def test_labels(measured, tmp_path):
    rows = [{"text": text, "label": n % 3} for n, text in enumerate(texts(20))]
    names = ["accuracy", "f1", "matthews"]
    config = {**BERT, "initializer_range": 1.0}
    found = measured("sequence-classification", rows, metrics=names, config=config)
    logits, labels = found.logits(AutoModelForSequenceClassification, tmp_path / "saved")
    said = logits.argmax(-1)
    assert found.figures["val_accuracy"] == sklearn_metrics.accuracy_score(labels, said)
    assert found.figures["val_f1"] == sklearn_metrics.f1_score(labels, said, average="macro")
    assert found.figures["val_matthews"] == sklearn_metrics.matthews_corrcoef(labels, said)
    assert len(set(said.tolist())) > 1


def test_several_labels(measured, tmp_path):
    rows = [{"text": text, "label": ["a", "b"][: n % 3]} for n, text in enumerate(texts(20))]
    found = measured("sequence-classification", rows)
    logits, labels = found.logits(AutoModelForSequenceClassification, tmp_path / "saved")
    said = logits.sigmoid() > 0.5
    assert found.figures["val_f1"] == sklearn_metrics.f1_score(labels, said, average="macro")
    assert found.figures["val_accuracy"] == sklearn_metrics.accuracy_score(labels, said)
    for name in ("matthews", "balanced_accuracy"):
        with pytest.raises(UsageError, match=f"{name} is of one label a row"):
            measured("sequence-classification", rows, metrics=[name])


def test_numbers(measured, tmp_path):
    rows = [{"text": text, "label": n / 7} for n, text in enumerate(texts(20))]
    found = measured("sequence-classification", rows)
    logits, labels = found.logits(AutoModelForSequenceClassification, tmp_path / "saved")
    said = logits[:, 0].numpy()
    assert found.figures["val_mse"] == pytest.approx(found.figures["val_loss"], rel=1e-5)
    wanted = stats.pearsonr(said, labels).statistic
    assert found.figures["val_pearson"] == pytest.approx(wanted, rel=1e-4)
    assert "val_spearman" in found.figures


def test_tags(measured, tmp_path):
    names = ["O", "B-A", "I-A"]
    rows = [
        {"tokens": text.split(), "tags": [names[(n + at) % 3] for at in range(len(text.split()))]}
        for n, text in enumerate(texts(20))
    ]
    found = measured("token-classification", rows)
    logits, labels = found.logits(AutoModelForTokenClassification, tmp_path / "saved")
    known = found.objective.names.names
    pairs = [
        ([known[a] for a, b in row if b >= 0], [known[b] for a, b in row if b >= 0])
        for row in (
            list(zip(a.tolist(), b.tolist(), strict=True))
            for a, b in zip(logits.argmax(-1), labels, strict=True)
        )
    ]
    said, right = ([pair[of] for pair in pairs] for of in (0, 1))
    assert right == [row["tags"] for row in rows]
    assert found.figures["val_entity_f1"] == f1_score(right, said, zero_division=0)
    share = np.mean([a == b for one, two in pairs for a, b in zip(one, two, strict=True)])
    assert found.figures["val_tag_accuracy"] == pytest.approx(share)


def test_tags_without_entities_have_no_entities(measured):
    rows = [{"tokens": ["the", "cat"], "tags": ["A", "B"]}] * 4
    assert set(measured("token-classification", rows).figures) == {"val_loss", "val_tag_accuracy"}
    problem = refused(lambda: measured("token-classification", rows, metrics=["entity_f1"]))
    assert "do not say where entities begin" in problem.what and problem.where == "metrics"


def test_spans(measured):
    """Every span of every window, one after the other."""
    chance, rows = random.Random(3), []
    for number in range(6):
        words = chance.choices(WORDS, k=12 + 6 * number)
        context, begin = " ".join(words), len(" ".join(words[:4])) + 1
        answer = {"text": [words[4]], "answer_start": [begin]}
        nothing = {"text": [], "answer_start": []}
        answers = answer if number else nothing
        rows.append({"question": "which cat", "context": context, "answers": answers})
    config = {**BERT, "initializer_range": 1.0}
    found = measured("question-answering", rows, stride=4, config=config)
    asked = found.objective.asked
    assert len(asked.windows) > len(rows)
    best, none, answers, windows_of = {}, {}, [], {}
    windows = zip(asked.windows, found.examples, strict=True)
    for number, ((row, window, nowhere), example) in enumerate(windows):
        batch = {name: each[None] for name, each in example.items() if name != "labels"}
        with torch.no_grad():
            output = found.model(**batch)
        answers += found.measure.answers(found.model, batch, output, [number])
        logits = output.logits[0]
        for first, (start, _) in enumerate(window.offsets):
            for last, (_, stop) in list(enumerate(window.offsets))[first : first + 30]:
                score = float(logits[window.first + first, 0] + logits[window.first + last, 1])
                text = rows[row]["context"][start:stop]
                if score > best.get(row, (-1e9, ""))[0]:
                    best[row] = score, text
                    windows_of.setdefault(row, set()).add(number)
        none[row] = min(none.get(row, 1e9), float(logits[nowhere].sum()))
    said = ["" if none[row] > best[row][0] else best[row][1] for row in range(len(rows))]
    assert found.measure.said(answers) == said
    assert any(len(each) > 1 for each in windows_of.values()), "a later window has a better span"
    wanted = compute(["exact_match", "answer_f1"], said, [row["answers"]["text"] for row in rows])
    for name, value in wanted.items():
        assert found.figures[f"val_{name}"] == pytest.approx(value)


@pytest.mark.parametrize(
    "beams", [{}, {"num_beams": 3, "length_penalty": -2.0, "early_stopping": True}]
)
def test_texts_are_those_that_transformers_makes(measured, pieces, tmp_path, beams):
    rows = [{"source": a, "target": b} for a, b in zip(texts(8), texts(8, 1), strict=True)]
    names = ["rouge1", "chrf", "wer"]
    found = measured(
        "seq2seq",
        rows,
        config={**T5, "initializer_factor": 8.0},
        tokenizer=pieces,
        metrics=names,
        generation={"max_new_tokens": 6, "max_examples": 5, **beams},
    )
    model = theirs(found.model, tmp_path / "saved", AutoModelForSeq2SeqLM)

    def figures(**asked) -> dict[str, float]:
        said = []
        for row in rows[:5]:
            ids = torch.tensor([found.tokenizer.encode(row["source"])])
            made = model.generate(ids, max_new_tokens=6, do_sample=False, **asked)
            said.append(found.tokenizer.decode(made[0, 1:].tolist()))
        return compute(names, said, [row["target"] for row in rows[:5]])

    made = {name: found.figures[f"val_{name}"] for name in names}
    assert made == figures(**{"num_beams": 1, **beams})
    assert not beams or made != figures(num_beams=1)


def test_vectors_and_pairs(measured, texts_folder):
    halves = [{"anchor": a, "positive": b} for a, b in zip(texts(9), texts(9, 1), strict=True)]
    found = measured("contrastive", halves)
    with torch.no_grad():
        batch = found.objective.collate(found.examples)
        inputs = {name: each for name, each in batch.items() if name != "labels"}
        anchors, positives = found.model(**inputs).logits.chunk(2)
    ranks = (anchors @ positives.T).argsort(-1, descending=True)
    places = [row.tolist().index(number) + 1 for number, row in enumerate(ranks)]
    assert found.figures["val_mrr"] == pytest.approx(np.mean([1 / place for place in places]))

    pairs = [
        {"prompt": "the", "chosen": f" {a}", "rejected": f" {b}"}
        for a, b in zip(texts(9), texts(9, 1), strict=True)
    ]
    decoder = {"config": LLAMA, "tokenizer": str(texts_folder / "tokenizer")}
    for name in ("dpo", "simpo", "reward"):
        found = measured(name, pairs, **decoder)
        losses = []  # a pair's loss says which reward is greater
        for example in found.examples:
            with torch.no_grad():
                batch = found.objective.collate([example])
                losses.append(float(found.objective.loss(found.model, batch)))
        margin = found.objective.margin if name == "simpo" else 0
        even = -np.log(1 / (1 + np.exp(margin)))
        assert found.figures["val_pair_accuracy"] == np.mean([loss < even for loss in losses])
        assert 0 < found.figures["val_pair_accuracy"] < 1


def test_judged_answers(measured, texts_folder):
    """As TRL has them: beta times the log ratio, summed over the tokens of an answer."""
    rows = [
        {"prompt": "the", "completion": f" {text}", "label": n % 3 > 0}
        for n, text in enumerate(texts(9))
    ]
    decoder = {"config": LLAMA, "tokenizer": str(texts_folder / "tokenizer")}
    found = measured("kto", rows, beta=0.7, **decoder)
    rewards = {True: [], False: []}
    for row in rows:
        before = [0, *found.tokenizer.encode(row["prompt"], add_special_tokens=False)]
        answer = [*found.tokenizer.encode(row["completion"], add_special_tokens=False), 0]
        ids = torch.tensor([[*before, *answer]])
        logs = []
        for model in (found.model, found.objective.start):
            with torch.no_grad():
                every = model(ids).logits[0, :-1].log_softmax(-1)
            logs.append(every.gather(1, ids[0, 1:, None])[len(before) - 1 :].sum())
        rewards[row["label"]].append(0.7 * float(logs[0] - logs[1]))
    good, bad = np.mean(rewards[True]), np.mean(rewards[False])
    assert found.figures["val_desirable_reward"] == pytest.approx(good, rel=1e-4)
    assert found.figures["val_undesirable_reward"] == pytest.approx(bad, rel=1e-4)
    assert found.figures["val_reward_margin"] == pytest.approx(good - bad, rel=1e-3)
    assert measured("kto", rows, metrics=[], **decoder).figures.keys() == {"val_loss"}


@pytest.mark.parametrize(
    ("objective", "answers", "passes"),
    [
        ("kto", {"completion": " cat", "label": True}, 2),  # of the answers, and of the strangers
        ("dpo", {"chosen": " cat", "rejected": " dog"}, 1),
    ],
)
def test_the_start_is_asked_once_for_the_loss_and_the_rewards(
    measured, texts_folder, objective, answers, passes
):
    rows = [{"prompt": "the", **answers}] * 3
    found = measured(objective, rows, config=LLAMA, tokenizer=str(texts_folder / "tokenizer"))
    assert len(found.figures) > 1 and found.start_passes == passes


@pytest.fixture
def texts_folder(request):
    return request.getfixturevalue("texts")


def test_the_best_is_kept_by_a_metric(spec_of, rows_file, train):
    rows = [{"text": text, "label": n % 2} for n, text in enumerate(texts(16))]
    spec = spec_of(
        "sequence-classification",
        rows,
        validation=rows_file(rows[:7], "validation.jsonl"),
        validate_every=1,
        max_steps=12,
        optimizer={"lr": 3e-2},
        keep="best",
        best_metric="accuracy",
    )
    result, folder = train(spec)
    lines = read_metrics(folder / "metrics.jsonl")
    reached = [line["val_accuracy"] for line in lines]
    assert result.best_step == reached.index(max(reached)) + 1
    assert result.best_metrics["accuracy"] == max(reached) > min(reached)
    assert result.best_validation_loss == lines[result.best_step - 1]["val_loss"]
    assert result.metrics == {"accuracy": reached[-1], "f1": lines[-1]["val_f1"]}
    assert result.best_validation_loss > min(line["val_loss"] for line in lines)


def test_what_is_better_depends_on_the_metric():
    lower = Better("mse", higher=False)
    assert lower({"val_mse": 1.0}, {"val_mse": 2.0}) and not lower(
        {"val_mse": 2.0}, {"val_mse": 2.0}
    )
    assert Better("f1", higher=True)({"val_f1": 0.2}, {"val_f1": 0.1})
    assert Better("f1", higher=True)({"val_f1": 0.2}, {"val_loss": 0.1}), "none is the worst"
    assert not lower({}, {"val_mse": 1.0}) and lower({}, None)


def test_two_processes_measure_what_one_does(spec_of, rows_file, tmp_path):
    rows = [{"text": text, "label": n % 3} for n, text in enumerate(texts(13))]
    common = {
        "config": BERT,
        "validation": rows_file(rows, "validation.jsonl"),
        "max_steps": 1,
        "optimizer": {"lr": 1e-8},
    }
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    spec = spec_of("sequence-classification", rows, batch_size=2, strategy="ddp", **common)
    in_processes(2, tmp_path, CHILD, json.dumps(spec.model_dump(mode="json")), str(two))
    run(spec_of("sequence-classification", rows, batch_size=4, **common), Job(folder=one))
    alone, both = (read_metrics(each / "metrics.jsonl")[-1] for each in (one, two))
    assert both["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-5)
    for name in ("val_accuracy", "val_f1"):
        assert both[name] == alone[name]


def test_metrics_that_cannot_be_are_refused(measured, make_spec, spec_of, rows_file):
    rows = [{"text": text, "label": n / 7} for n, text in enumerate(texts(4))]
    problem = refused(lambda: measured("sequence-classification", rows, metrics=["f1"]))
    assert "f1 is no metric of these predictions, which are numbers" in problem.what
    with pytest.raises(ValueError, match="sequence-classification has no 'rouge1'"):
        spec_of("sequence-classification", rows, validation="x", metrics=["rouge1"])
    with pytest.raises(ValueError, match="length_penalty has no effect"):
        spec_of(
            "seq2seq",
            rows,
            validation="x",
            metrics=["rouge1"],
            generation={"length_penalty": 2.0},
        )
    with pytest.raises(ValueError, match="mse is not among metrics"):
        spec_of(
            "sequence-classification",
            rows,
            validation="x",
            metrics=["mae"],
            keep="best",
            best_metric="mse",
        )
    with pytest.raises(ValueError, match="metrics"):
        make_spec(metrics=["accuracy"], validation="x")
