"""Texts that belong together: the loss on transformers' states, and what is refused."""

from __future__ import annotations

import random
import shutil

import pytest
import torch
from transformers import AutoModel

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import BERT, LLAMA, fed, made, theirs
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.pooling import write_modules
from tfcli.console import Console
from tfcli.train.log import read_metrics

OBJECTIVE = "contrastive"
NEGATIVES = {"columns": {"negative": "negative"}}


def rows(count: int = 8) -> list[dict]:
    """A text belongs to the one with its words in another order."""
    chance, found = random.Random(0), []
    for number in range(count):
        words = chance.sample(WORDS, k=3 + number % 3)
        again = chance.sample(words, k=len(words))
        others = " ".join(chance.sample(WORDS, k=4))
        found.append({"anchor": " ".join(words), "positive": " ".join(again), "negative": others})
    return found


def plain_loss(reference, objective, examples) -> torch.Tensor:
    """The mean over rows of -log of a softmax over products, one text at a time."""

    def vector(ids):
        mean = reference(ids[None]).last_hidden_state[0].mean(0)
        return mean / mean.norm()

    anchors = [vector(each["anchor"]) for each in examples]
    others = [vector(each[kind]) for kind in ("positive", "negative") if kind in examples[0]
              for each in examples]  # fmt: skip
    losses = []
    for number, anchor in enumerate(anchors):
        products = torch.stack([anchor @ other for other in others]) / objective.temperature
        losses.append(-products.softmax(0)[number].log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("config", [BERT, LLAMA], ids=lambda config: config["model_type"])
@pytest.mark.parametrize("more", [{}, NEGATIVES], ids=["pairs", "negatives"])
def test_loss_and_gradients_are_those_of_the_formula(spec_of, tmp_path, config, more):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows(), config=config, **more))
    batch = objective.collate(examples.train.items)
    assert (batch["attention_mask"] == 0).any() and objective.count(batch) == 8
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AutoModel)
    loss = objective.loss(model, batch) / 8
    wanted = plain_loss(reference, objective, examples.train.items)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    loss.backward(), wanted.backward()
    base = f"{model.base()}."
    ours = {name.removeprefix(base): each.grad for name, each in model.named_parameters()}
    used = {name: each.grad for name, each in reference.named_parameters() if "pooler" not in name}
    norm = torch.cat([grad.flatten() for grad in used.values()]).norm()
    assert set(ours) == set(used)
    for name, grad in used.items():
        assert (ours[name] - grad).norm() <= 1e-6 * norm, name


def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train):
    spec = spec_of(OBJECTIVE, rows(40), batch_size=8, max_steps=40, optimizer={"lr": 1e-2})
    result, folder = train(spec)
    assert result.train_loss < read_metrics(folder / "metrics.jsonl")[0]["loss"] / 2
    model = AutoModel.from_pretrained(folder).eval()
    ids = torch.tensor([[2, 7, 9, 11, 3]])
    with torch.no_grad():
        ours = load_model(folder, task=None)(ids).logits
        states = model(ids).last_hidden_state.mean(1)
    torch.testing.assert_close(ours, states / states.norm(), rtol=1e-5, atol=1e-5)


def test_a_row_depends_on_those_beside_it_and_the_temperature_has_an_effect(spec_of):
    objective, examples, config = fed(spec_of(OBJECTIVE, rows()))
    other = fed(spec_of(OBJECTIVE, rows(), temperature=1.0))[0]
    model, items = made(objective, config), examples.train.items

    def loss(chosen, of=objective):
        return of.loss(model, of.collate(chosen)).item()

    assert loss(items[:2]) + loss(items[2:4]) != pytest.approx(loss(items[:4]))
    assert loss(items, other) != pytest.approx(loss(items))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"anchor": "a", "positiv": "b"}, "no 'positive'"),
        ({"anchor": None, "positive": "b"}, "nothing in 'anchor'"),
        ({"anchor": 3, "positive": "b"}, "'anchor' is not a text"),
    ],
    ids=str,
)
def test_a_wrong_row_is_refused_with_its_line(spec_of, row, what):
    problem = refused(lambda: fed(spec_of(OBJECTIVE, [*rows(), row])))
    assert what in problem.what and problem.where.endswith("rows.jsonl:9")


def test_a_model_that_makes_vectors_otherwise_is_refused(spec_of, words, tmp_path):
    start = tmp_path / "start"
    shutil.copytree(words, start)
    spec = spec_of(OBJECTIVE, rows(), tokenizer=str(start))
    write_modules("mean", 16, True, start)
    fed(spec)
    write_modules("cls", 16, True, start)
    assert "made by cls" in refused(lambda: fed(spec)).what


def test_a_row_alone_is_refused_unless_it_has_a_negative(spec_of, capsys):
    assert refused(lambda: fed(spec_of(OBJECTIVE, rows(1)))).where == "data"
    assert refused(lambda: fed(spec_of(OBJECTIVE, rows(), batch_size=1))).where == "batch_size"
    assert "no rows" in refused(lambda: fed(spec_of(OBJECTIVE, []))).what
    fed(spec_of(OBJECTIVE, rows(1), sequence_length=3, **NEGATIVES), Console())
    assert "longer than sequence_length (3)" in capsys.readouterr().err
