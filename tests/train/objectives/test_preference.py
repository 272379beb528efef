"""Pairs of answers: losses beside the papers' formulas on transformers' models."""

from __future__ import annotations

import gc
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import (
    BERT,
    LLAMA,
    fed,
    made,
    parts,
    require_same,
    straight_and_resumed,
    theirs,
)
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.models.model import Model
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import load_tokenizer
from tfcli.train.log import read_metrics
from tfcli.train.loop import Loop
from tfcli.train.run import run

NAMES = ("dpo", "ipo", "orpo", "simpo")
EACH = pytest.mark.parametrize("name", NAMES)
BETA, MARGIN = 0.7, 0.4


def rows(count: int = 8) -> list[dict]:
    """Answers with a cat are better than those with a dog."""
    chance, found = random.Random(0), []
    for number in range(count):
        prompt, more = (" ".join(chance.choices(WORDS, k=2 + number % 3)) for _ in range(2))
        found.append({"prompt": prompt, "chosen": f" {more} cat", "rejected": " a dog"})
    return found


@pytest.fixture
def spec_of(spec_of, texts):
    """The same with a decoder and a byte-level tokenizer."""

    def make(objective, rows, **changes):
        values = {"config": LLAMA, "tokenizer": str(texts / "tokenizer"), "sequence_length": 64}
        return spec_of(objective, rows, **{**values, **changes})

    return make


def plain_loss(name: str, policy, reference, pairs, tokenizer) -> torch.Tensor:
    """The mean loss of pairs, one at a time and as the papers have it."""

    def tokens(model, prompt: str, answer: str) -> torch.Tensor:
        begin = [0, *tokenizer.encode(prompt, add_special_tokens=False)]
        ids = [*begin, *tokenizer.encode(answer, add_special_tokens=False), 0]
        logits = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        every = logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        return every[len(begin) - 1 :]

    losses = []
    for row in pairs:
        w, l = (tokens(policy, row["prompt"], row[key]) for key in ("chosen", "rejected"))
        with torch.no_grad():
            w0, l0 = (tokens(reference, row["prompt"], row[key]) for key in ("chosen", "rejected"))
        h = (w.sum() - w0.sum()) - (l.sum() - l0.sum())
        if name == "dpo":  # equation 7 of Rafailov et al.
            losses.append(-torch.log(torch.sigmoid(BETA * h)))
        elif name == "ipo":  # equation 17 of Azar et al.
            losses.append((h - 1 / (2 * BETA)) ** 2)
        elif name == "orpo":  # equations 4 to 7 of Hong et al.
            p, q = w.mean().exp(), l.mean().exp()
            ratio = (p / (1 - p)) / (q / (1 - q))
            losses.append(-w.mean() - BETA * torch.log(torch.sigmoid(torch.log(ratio))))
        else:  # equation 6 of Meng et al.
            losses.append(-torch.log(torch.sigmoid(BETA * (w.mean() - l.mean()) - MARGIN)))
    return torch.stack(losses).mean()


@EACH
def test_loss_and_gradients_are_those_of_the_paper(spec_of, texts, tmp_path, name):
    changes = {"beta": BETA, **({"margin": MARGIN} if name == "simpo" else {})}
    objective, examples, config = fed(spec_of(name, rows(), **changes))
    batch = objective.collate(examples.train.items)
    assert (batch["attention_mask"] == 0).any()
    policy, start = made(objective, config), made(objective, config, seed=1)
    objective.begin(lambda ref: start)
    models = [
        theirs(model, tmp_path / folder, AutoModelForCausalLM)
        for model, folder in ((policy, "policy"), (start, "start"))
    ]
    loss = objective.loss(policy, batch) / objective.count(batch)
    tokenizer = load_tokenizer(texts / "tokenizer")
    wanted = plain_loss(name, *models, rows(), tokenizer)
    require_same(loss, policy, wanted, models[0])
    assert all(parameter.grad is None for parameter in start.parameters())


def test_rewards_are_those_of_the_paper(spec_of, texts, tmp_path):
    objective, examples, config = fed(spec_of("reward", rows()))
    batch = objective.collate(examples.train.items)
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AutoModelForSequenceClassification)
    assert reference.config.num_labels == 1
    tokenizer = load_tokenizer(texts / "tokenizer")

    def score(row, key):
        answer = tokenizer.encode(row[key], add_special_tokens=False)
        # A row alone has no padding, and the last token is the one that ends a text.
        ids = torch.tensor([[*tokenizer.encode(row["prompt"]), *answer, 0]])
        reference.config.pad_token_id = -1
        return reference(ids).logits[0, 0]

    losses = [
        -torch.log(torch.sigmoid(score(row, "chosen") - score(row, "rejected"))) for row in rows()
    ]
    loss = objective.loss(model, batch) / objective.count(batch)
    require_same(loss, model, torch.stack(losses).mean(), reference)


@pytest.mark.parametrize("name", [*NAMES, "reward"])
def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path, name):
    objective, examples, config = fed(spec_of(name, rows()))
    parts(objective, config, examples.train.items, tmp_path)


@EACH
def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train, name):
    spec = spec_of(name, rows(16), max_steps=25, optimizer={"lr": 1e-2})
    result, folder = train(spec)
    first = read_metrics(folder / "metrics.jsonl")[0]["loss"]
    if name in ("dpo", "ipo"):  # the model begins as its own reference
        assert first == pytest.approx({"dpo": 0.693147, "ipo": 25}[name], rel=1e-5)
    assert result.train_loss < first * 0.6
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([[7, 9, 11]])
    with torch.no_grad():
        ours = load_model(folder)(ids).logits
        torch.testing.assert_close(ours, model(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [LLAMA, BERT], ids=lambda config: config["model_type"])
def test_a_reward_is_learned_and_transformers_loads_it(spec_of, train, config, words, texts):
    tokenizer = words if config is BERT else str(texts / "tokenizer")
    spec = spec_of(
        "reward",
        rows(16),
        config=config,
        tokenizer=tokenizer,
        max_steps=25,
        optimizer={"lr": 1e-2},
    )
    result, folder = train(spec)
    assert result.train_loss < 0.3
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.tensor([[7, 9, 11]])
    model.config.pad_token_id = -1
    with torch.no_grad():
        ours = load_model(folder, task=None)(ids, attention_mask=torch.ones_like(ids)).logits
        torch.testing.assert_close(ours, model(ids).logits, rtol=1e-5, atol=1e-5)


def test_a_resumed_run_compares_with_the_model_that_it_began_with(spec_of, tmp_path):
    straight, resumed = straight_and_resumed(
        spec_of("dpo", rows(), max_steps=8, checkpoint_every=5, optimizer={"lr": 1e-2}), tmp_path
    )
    assert straight == resumed


def test_the_scale_is_that_of_the_paper_where_it_is_left_out(spec_of):
    assert [fed(spec_of(name, rows()))[0].beta for name in NAMES] == [0.1, 0.1, 0.1, 2.0]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"chosen": None}, "nothing in 'chosen'"),
        ({"prompt": "a cat " * 70}, "leaves no room for an answer"),
        ({"rejected": ["no"]}, "'rejected' is not a text, but a list"),
    ],
    ids=str,
)
def test_a_wrong_row_is_refused_with_its_line(spec_of, changed, what):
    problem = refused(lambda: fed(spec_of("dpo", [*rows(), {**rows()[0], **changed}])))
    assert what in problem.what and problem.where.endswith("rows.jsonl:9")


def test_other_columns_no_rows_and_long_answers(spec_of, capsys):
    named = [{"prompt": "a", "better": " cat", "rejected": " dog"}]
    problem = refused(lambda: fed(spec_of("dpo", named)))
    assert "no 'chosen'" in problem.what and problem.where.endswith("rows.jsonl:1")
    fed(spec_of("dpo", named, columns={"chosen": "better"}))
    assert "no rows" in refused(lambda: fed(spec_of("dpo", []))).what
    long = [{**rows()[0], "chosen": " cat" * 90}]
    _, examples, _ = fed(spec_of("dpo", long), Console())
    assert len(examples.train.items[0]["chosen"]) == 64
    assert "1 of 1 rows are longer than sequence_length (64)" in capsys.readouterr().err


def all_models() -> list[Model]:
    """Every model that is in memory."""
    return [each for each in gc.get_objects() if isinstance(each, Model)]


@pytest.mark.parametrize("name", ["dpo", "ipo"])
def test_an_adapter_is_compared_with_the_model_without_it_and_no_second_one_is_held(
    spec_of, tiny_llama, tmp_path, monkeypatch, name
):
    """Trained biases change the model itself, so that there a second one is needed; this one has
    none, and both ways must give the same losses."""
    counts, step, before = [], Loop.train_step, []

    def count(self, number, batches, seconds):
        models = [each for each in all_models() if not any(each is one for one in before)]
        shared = {id(p) for each in models for p in each.parameters()}
        counts.append(len(shared) / len(list(self.model.parameters())))
        return step(self, number, batches, seconds)

    monkeypatch.setattr(Loop, "train_step", count)
    found, held = [], []
    for bias in ("none", "all"):
        gc.collect()
        counts.clear()
        before = all_models()
        adapter = {"type": "lora", "bias": bias, "dropout": 0.2}
        common = {"config": None, "tokenizer": None, "model": str(tiny_llama)}
        optimizer = {"lr": 1e-2}
        spec = spec_of(name, rows(), **common, adapter=adapter, max_steps=6, optimizer=optimizer)
        folder = tmp_path / bias
        folder.mkdir()
        run(spec, Job(folder=folder))
        found.append([line["loss"] for line in read_metrics(folder / "metrics.jsonl")])
        held.append(counts[-1])
    assert found[0] == found[1]
    assert found[0][-1] != found[0][0]
    assert held[0] == 1 < held[1]
