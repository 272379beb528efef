"""Optimizers and what they decay."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from tfcli.errors import UsageError
from tfcli.train.optimizer import build_optimizer, parameter_groups, require_optimizer
from tfcli.train.spec import OptimizerSection


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.LayerNorm(128))


def test_only_matrices_decay(layer):
    decayed, spared = parameter_groups(layer.parameters(), 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(128, 64)]
    assert [tuple(p.shape) for p in spared["params"]] == [(128,)] * 3
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_are_left_out(layer):
    layer[0].requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(layer.parameters(), 0.1)] == [2]


@pytest.mark.parametrize("name", ["adamw", "adamw-8bit"])
def test_decay_shrinks_a_matrix_and_no_bias_when_gradients_are_zero(layer, name):
    optimizer = build_optimizer(layer, OptimizerSection(name=name, lr=0.5, weight_decay=0.2))
    before = [p.detach().clone() for p in layer.parameters()]
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = list(layer.parameters())
    torch.testing.assert_close(after[0].detach(), before[0] * 0.9)
    for old, new in zip(before[1:], after[1:], strict=True):
        assert torch.equal(old, new)


def test_every_option_reaches_the_optimizer(layer):
    section = OptimizerSection(lr=0.3, betas=(0.8, 0.7), eps=1e-3, weight_decay=0.4)
    group = build_optimizer(layer, section).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.3, (0.8, 0.7), 1e-3)
    assert group["weight_decay"] == 0.4
    assert group["fused"]


def test_the_8_bit_optimizer_keeps_its_state_in_bytes(layer):
    optimizer = build_optimizer(layer, OptimizerSection(name="adamw-8bit"))
    layer(torch.randn(2, 64)).square().sum().backward()
    optimizer.step()
    assert optimizer.state[layer[0].weight]["state1"].dtype == torch.uint8


def test_a_missing_library_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match="bitsandbytes") as error:
        require_optimizer("adamw-8bit")
    assert "pip install 'tfcli[bnb]'" in error.value.fix
    require_optimizer("adamw")


def test_betas_outside_of_0_to_1_are_refused():
    with pytest.raises(ValueError, match=r"both betas must be in \[0, 1\)"):
        OptimizerSection(betas=(0.9, 1.0))
