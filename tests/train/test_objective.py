"""What training makes smaller."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.train.batches import Batch
from tfcli.train.objective import next_token

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


def objective(targets, **changes):
    model = initialize(build(config_from_recipe(MIXTRAL | changes)), seed=0)
    ids = torch.arange(9)
    return next_token(model, Batch(ids[None, :-1], ids[None, 1:]), targets)


def test_training_balances_experts_and_validation_does_not_count_it():
    balanced = {"output_router_logits": True, "router_aux_loss_coef": 0.5}
    plain, more = objective(8).item(), objective(8, **balanced).item()
    assert more - plain >= 0.5 * 2 * 0.99  # at least k where the load is even
    with torch.no_grad():
        assert objective(8, **balanced).item() == pytest.approx(plain)


def test_a_part_of_a_step_adds_its_share():
    balanced = {"output_router_logits": True, "router_aux_loss_coef": 0.5}
    whole, half = objective(8, **balanced).item(), objective(16, **balanced).item()
    assert half == pytest.approx(whole / 2)
