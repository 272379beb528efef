"""Answers that were judged one by one: the loss beside the paper's formulas on transformers'."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import (
    LLAMA,
    fed,
    made,
    require_same,
    straight_and_resumed,
    theirs,
)
from tfcli.tokenizers.load import load_tokenizer
from tfcli.train.log import read_metrics

BETA, GOOD, BAD = 0.7, 1.5, 0.8


def rows(count: int = 8) -> list[dict]:
    """Answers with a cat are good, and those with a dog are not."""
    chance, found = random.Random(0), []
    for number in range(count):
        prompt, more = (" ".join(chance.choices(WORDS, k=2 + number % 3)) for _ in range(2))
        good = number % 3 > 0
        found.append(
            {"prompt": prompt, "completion": f" {more} {'cat' if good else 'dog'}", "label": good}
        )
    return found


@pytest.fixture
def spec_of(spec_of, texts):
    """The same with a decoder and a byte-level tokenizer."""

    def make(rows, **changes):
        values = {"config": LLAMA, "tokenizer": str(texts / "tokenizer"), "sequence_length": 64}
        return spec_of("kto", rows, **{**values, **changes})

    return make


def plain_loss(policy, start, rows, tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean loss of rows, one at a time and as the paper has it, and z0."""

    def gain(prompt: str, answer: str) -> torch.Tensor:
        begin = [0, *tokenizer.encode(prompt, add_special_tokens=False)]
        ids = [*begin, *tokenizer.encode(answer, add_special_tokens=False), 0]

        def log(model):
            logits = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            every = logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            return every[len(begin) - 1 :].sum()

        return log(policy) - log(start).detach()

    # Equation 6: z0, from answers to other prompts; TRL shifts them by one as well.
    others = [rows[-1], *rows[:-1]]
    strangers = [gain(a["prompt"], b["completion"]) for a, b in zip(rows, others, strict=True)]
    z0 = torch.stack(strangers).mean().clamp(min=0).detach()
    losses = []
    for row in rows:
        r = gain(row["prompt"], row["completion"])
        if row["label"]:
            losses.append(GOOD * (1 - torch.sigmoid(BETA * (r - z0))))
        else:
            losses.append(BAD * (1 - torch.sigmoid(BETA * (z0 - r))))
    return torch.stack(losses).mean(), z0


def test_loss_and_gradients_are_those_of_the_paper(spec_of, texts, tmp_path):
    weights = {"desirable_weight": GOOD, "undesirable_weight": BAD}
    objective, examples, config = fed(spec_of(rows(), beta=BETA, kto=weights))
    batch = objective.collate(examples.train.items)
    assert (batch["attention_mask"] == 0).any()
    # With these weights the strangers became likelier, so that z0 is no 0.
    policy, start = made(objective, config, seed=0), made(objective, config, seed=4)
    objective.begin(lambda ref: start)
    models = [
        theirs(model, tmp_path / folder, AutoModelForCausalLM)
        for model, folder in ((policy, "policy"), (start, "start"))
    ]
    loss = objective.loss(policy, batch) / objective.count(batch)
    wanted, z0 = plain_loss(*models, rows(), load_tokenizer(texts / "tokenizer"))
    assert z0 > 0
    require_same(loss, policy, wanted, models[0])
    assert all(parameter.grad is None for parameter in start.parameters())


def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train):
    result, folder = train(spec_of(rows(16), max_steps=25, batch_size=8, optimizer={"lr": 1e-2}))
    first = read_metrics(folder / "metrics.jsonl")[0]["loss"]
    assert first == pytest.approx(0.5, rel=1e-5)  # the model begins as its own start
    assert result.train_loss < 0.35 and result.unit == "row"
    AutoModelForCausalLM.from_pretrained(folder)


def test_a_resumed_run_compares_with_the_model_that_it_began_with(spec_of, tmp_path):
    straight, resumed = straight_and_resumed(
        spec_of(rows(), max_steps=8, checkpoint_every=5, optimizer={"lr": 1e-2}), tmp_path
    )
    assert straight == resumed


@pytest.mark.parametrize(("good", "bad"), [(1, 0), ("1", "0"), ("True", "False"), (True, False)])
def test_judgements_are_truth_values_in_any_spelling(spec_of, good, bad):
    both = [{**rows()[0], "label": good}, {**rows()[0], "label": bad}]
    _, examples, _ = fed(spec_of(both))
    assert [bool(each["labels"]) for each in examples.train.items] == [True, False]


def test_wrong_rows_are_refused_with_their_line(spec_of):
    problem = refused(lambda: fed(spec_of([*rows(), {**rows()[0], "label": "good"}])))
    assert "'good' says neither true" in problem.what and problem.where.endswith("rows.jsonl:9")
    assert "a row alone" in refused(lambda: fed(spec_of(rows(1)))).what
    assert refused(lambda: fed(spec_of(rows(), batch_size=1))).where == "batch_size"
