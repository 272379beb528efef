"""Predicting each next token."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.train.objectives.causal_lm import CausalLM

MIXTRAL = {
    "model_type": "mixtral",
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "num_local_experts": 4,
}


def loss(rows=1, **changes):
    """The summed loss of some rows of 8 targets."""
    model = initialize(build(config_from_recipe(MIXTRAL | changes)), seed=0)
    ids = torch.arange(9).repeat(rows, 1)
    return CausalLM().loss(model, {"input_ids": ids[:, :-1], "targets": ids[:, 1:]})


BALANCED = {"output_router_logits": True, "router_aux_loss_coef": 0.5}


def test_training_balances_experts_and_validation_does_not_count_it():
    plain, more = loss().item(), loss(**BALANCED).item()
    assert more - plain >= 8 * 0.5 * 2 * 0.99  # at least k a target where the load is even
    with torch.no_grad():
        assert loss(**BALANCED).item() == pytest.approx(plain)


def test_parts_of_a_step_add_up():
    assert loss(rows=2, **BALANCED).item() == pytest.approx(2 * loss(**BALANCED).item())
