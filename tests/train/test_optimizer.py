"""Optimizers and what they decay."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from tfcli.errors import UsageError
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build
from tfcli.train.moving_spec import OptimizerSection
from tfcli.train.optimizer import build_optimizer, parameter_groups, require_optimizer


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.LayerNorm(128))


def test_matrices_decay_and_norms_and_biases_do_not(layer):
    decayed, spared = parameter_groups(layer, 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(128, 64)]
    assert [tuple(p.shape) for p in spared["params"]] == [(128,)] * 3
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("kind", "settings", "spared"),
    [
        ("mamba", {"num_hidden_layers": 1}, {"A_log", "D", "bias", "norm.weight", "norm_f.weight"}),
        (
            "rwkv",
            {"num_hidden_layers": 1},
            {"time_decay", "time_first", "time_mix_key", "time_mix_value", "time_mix_receptance"}
            | {"bias", "ln1.weight", "ln2.weight", "ln_out.weight", "pre_ln.weight"},
        ),
        (
            "cohere",
            {"num_hidden_layers": 1, "num_attention_heads": 2, "use_qk_norm": True},
            {"q_norm.weight", "k_norm.weight", "input_layernorm.weight", "norm.weight"},
        ),
    ],
)
def test_decay_follows_from_what_a_parameter_is_and_not_from_its_shape(kind, settings, spared):
    keys = {"model_type": kind, "vocab_size": 32, "hidden_size": 16, "pad_token_id": None}
    model = build(config_from_recipe({**keys, **settings}))
    groups = parameter_groups(model, 0.1)
    free = {id(parameter) for parameter in groups[1]["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in free}
    assert names == {
        name
        for name, _ in model.named_parameters()
        if any(name.endswith(f".{part}") for part in spared)
    }


def test_frozen_parameters_are_left_out(layer):
    layer[0].requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(layer, 0.1)] == [2]


@pytest.mark.parametrize("name", ["adamw", "adamw-8bit", "lion", "muon"])
def test_decay_shrinks_a_matrix_and_no_bias_when_gradients_are_zero(layer, name):
    optimizer = build_optimizer(layer, OptimizerSection(name=name, weight_decay=0.2), 0.5)
    before = [p.detach().clone() for p in layer.parameters()]
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = list(layer.parameters())
    torch.testing.assert_close(after[0].detach(), before[0] * 0.9)
    for old, new in zip(before[1:], after[1:], strict=True):
        assert torch.equal(old, new)


def test_every_option_reaches_the_optimizer(layer):
    section = OptimizerSection(betas=(0.8, 0.7), eps=1e-3, weight_decay=0.4)
    group = build_optimizer(layer, section, 0.3).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.3, (0.8, 0.7), 1e-3)
    assert group["weight_decay"] == 0.4
    assert group["fused"]


def test_the_8_bit_optimizer_keeps_its_state_in_bytes(layer):
    optimizer = build_optimizer(layer, OptimizerSection(name="adamw-8bit"), 1e-3)
    layer(torch.randn(2, 64)).square().sum().backward()
    optimizer.step()
    assert optimizer.state[layer[0].weight]["state1"].dtype == torch.uint8


def test_a_missing_library_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match="bitsandbytes") as error:
        require_optimizer("adamw-8bit", "cpu")
    assert "pip install 'tfcli[bnb]'" in error.value.fix
    require_optimizer("adamw", "cpu")


def test_what_does_not_work_here_is_refused():
    with pytest.raises(UsageError, match="this run is on cpu"):
        require_optimizer("adamw-8bit-paged", "cpu")
    with pytest.raises(UsageError, match="needs whole weights"):
        require_optimizer("muon", "cpu", "fsdp")


def test_betas_outside_of_0_to_1_are_refused():
    with pytest.raises(ValueError, match=r"both betas must be in \[0, 1\)"):
        OptimizerSection(betas=(0.9, 1.0))
