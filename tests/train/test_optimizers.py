"""Optimizers of our own, against torch's and against their formulas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.train.optimizer_golden import DECAY, LR, moved, start
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build
from tfcli.train.moving_spec import OptimizerSection
from tfcli.train.optimizer import build_optimizer
from tfcli.train.optimizers.adam_mini import AdamMini, block_rows
from tfcli.train.optimizers.adamw import AdamW
from tfcli.train.optimizers.apollo import REDRAWN, Apollo, seed_of
from tfcli.train.optimizers.lion import Lion
from tfcli.train.optimizers.muon import Muon, orthogonalized


def steps(optimizer, weight, count=5) -> torch.Tensor:
    """What a weight is after steps on drawn gradients."""
    draw = torch.Generator().manual_seed(3)
    for _ in range(count):
        weight.grad = torch.randn(weight.shape, generator=draw)
        optimizer.step()
    return weight.detach()


def weight(*shape) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_muon_is_torchs_but_for_its_rounding_to_bfloat16(shape):
    ours, theirs = weight(*shape), weight(*shape)
    group = {"params": [ours], "weight_decay": 0.1, "orthogonal": True}
    found = steps(Muon([group], lr=0.02, momentum=0.95, betas=(0.9, 0.95), eps=1e-8), ours)
    peer = torch.optim.Muon(
        [theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    expected = steps(peer, theirs)
    assert (found - expected).norm() < 0.02 * (expected - weight(*shape)).norm()


def test_adamw_moves_as_torchs_bit_for_bit():
    ours, theirs = weight(30, 50), weight(30, 50)
    common = {"lr": 0.02, "weight_decay": 0.1, "betas": (0.9, 0.95), "fused": True}
    assert torch.equal(
        steps(AdamW([ours], **common), ours), steps(torch.optim.AdamW([theirs], **common), theirs)
    )


def test_an_orthogonal_matrix_has_singular_values_near_1():
    values = torch.linalg.svdvals(orthogonalized(weight(30, 50).detach()))
    assert values.min() > 0.6 and values.max() < 1.3


def test_muon_moves_everything_else_as_adamw_does():
    ours, theirs = weight(30), weight(30)
    group = {"params": [ours], "weight_decay": 0.1, "orthogonal": False}
    found = steps(Muon([group], lr=0.02, momentum=0.95, betas=(0.9, 0.95), eps=1e-8), ours)
    peer = torch.optim.AdamW([theirs], lr=0.02, weight_decay=0.1, betas=(0.9, 0.95))
    torch.testing.assert_close(found, steps(peer, theirs))


def test_muon_takes_the_matrices_of_linears_and_leaves_tables_and_the_head():
    class Tiny(nn.Module):
        word_head = "head"

        def __init__(self):
            super().__init__()
            self.table, self.inner = nn.Embedding(9, 4), nn.Linear(4, 4)
            self.head = nn.Linear(4, 9, bias=False)

    model = Tiny()
    groups = build_optimizer(model, OptimizerSection(name="muon"), 0.1).param_groups
    orthogonal = [each for group in groups if group["orthogonal"] for each in group["params"]]
    assert [each is model.inner.weight for each in orthogonal] == [True]


def test_lion_takes_steps_of_one_size_along_the_mean():
    """Chen et al. 2023, algorithm 2, spelt out."""
    found = weight(10)
    expected, mean = found.detach().clone(), torch.zeros(10)
    draw = torch.Generator().manual_seed(3)
    for _ in range(5):
        gradient = torch.randn(10, generator=draw)
        update = torch.sign(0.9 * mean + 0.1 * gradient) + 0.2 * expected
        expected, mean = expected - 0.01 * update, 0.98 * mean + 0.02 * gradient
    group = {"params": [found], "weight_decay": 0.2}
    torch.testing.assert_close(steps(Lion([group], lr=0.01, betas=(0.9, 0.98)), found), expected)


def golden(name: str) -> list[torch.Tensor]:
    """What the authors' own package makes of the same gradients."""
    path = Path(__file__).with_name("optimizer_golden.json")
    return [torch.tensor(each) for each in json.loads(path.read_text())[name]]


def test_adam_mini_is_its_authors():
    parameters = start()
    matrix, up, bias, scale = parameters.values()
    groups = [
        {"params": [matrix, up, scale], "weight_decay": DECAY},
        {"params": [bias], "weight_decay": 0.0},
    ]
    rows = {matrix: 4, up: 1, bias: 1, scale: 0}
    ours = AdamMini(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8, rows=rows)
    torch.testing.assert_close(moved(ours, parameters), golden("adam-mini"))
    held = {name: ours.state[each]["exp_avg_sq"].numel() for name, each in parameters.items()}
    assert list(held.values()) == [2, 5, 8, 1]


def test_adam_minis_blocks_are_heads_rows_and_norms():
    model = build(
        config_from_recipe(
            {"model_type": "llama", "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32}
            | {"num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
        )
    )
    rows = block_rows(model)
    named = {name: rows[each] for name, each in model.named_parameters()}
    heads = {name for name, count in named.items() if count == 4}
    assert {name.split(".")[-2] for name in heads} == {"q_proj", "k_proj"}
    assert {name for name, count in named.items() if not count} == {
        name for name in named if "norm" in name
    }


@pytest.mark.parametrize(
    ("name", "rank", "whole", "scale"),
    [("apollo", 3, False, 1.0), ("apollo-mini", 1, True, 128.0)],
)
def test_apollo_is_its_authors(name, rank, whole, scale):
    parameters = start()
    matrix, up, bias, norm = parameters.values()
    groups = [
        {"params": [matrix, up], "weight_decay": 0.0, "projected": True},
        {"params": [bias, norm], "weight_decay": 0.0, "projected": False},
    ]
    options = {"rank": rank, "whole": whole, "scale": scale}
    ours = Apollo(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8, **options)
    torch.testing.assert_close(moved(ours, parameters), golden(name))
    assert ours.state[matrix]["exp_avg"].shape == (8, rank)


def test_apollo_draws_another_projection_now_and_then():
    assert REDRAWN == 200
    assert len({seed_of(number, draw) for number in (1, 2) for draw in range(3)}) == 6


RATES = {"adamw": 0.02, "adafactor": 0.05, "lion": 0.02, "muon": 0.05, "sgd": 0.02}
RATES |= {"adam-mini": 0.02, "apollo": 0.05, "apollo-mini": 0.05}


@pytest.mark.parametrize("name", RATES)
def test_each_makes_a_loss_smaller(name):
    torch.manual_seed(0)
    model, x = nn.Linear(16, 16), torch.randn(64, 16)
    wanted = x @ torch.randn(16, 16)
    optimizer = build_optimizer(model, OptimizerSection(name=name), RATES[name])
    losses = []
    for _ in range(60):
        loss = (model(x) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
