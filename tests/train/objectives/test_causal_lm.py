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


LLAMA = {
    "model_type": "llama", "vocab_size": 23, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32,
}  # fmt: skip
SIZES = [3, 9, 5, 14, 2, 7, 6]


def row(size: int) -> dict[str, torch.Tensor]:
    """A sample with a prompt of one token."""
    ids = torch.randint(23, (size + 1,), generator=torch.Generator().manual_seed(size))
    return {"input_ids": ids[:-1], "targets": ids[1:].where(torch.arange(size) > 0, -100)}


def packed(rows):
    numbers = [torch.full_like(one["input_ids"], n) for n, one in enumerate(rows)]
    joined = {name: torch.cat([one[name] for one in rows]) for name in rows[0]}
    return {**joined, "segment_ids": torch.cat(numbers)}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("config", [LLAMA, MIXTRAL | {"sliding_window": 4}])
def test_packed_rows_have_the_loss_and_the_gradients_of_single_ones(attention, config):
    """Two packs, of which one is filled up, against seven rows in one batch."""

    def measured(*batches):
        model = initialize(build(config_from_recipe(config), attention=attention), seed=0)
        objective = CausalLM()
        losses = [objective.loss(model, objective.collate(batch)) for batch in batches]
        total = sum(losses)
        total.backward()
        grads = torch.cat([p.grad.flatten() for p in model.parameters()])
        return (
            total.item(),
            grads,
            sum(objective.count(objective.collate(b)) for b in batches),
        )

    rows = [row(size) for size in SIZES]
    loss, grads, count = measured(rows)
    packs = [packed(rows[:3]), packed(rows[3:])]
    for batches in ([packs], [[pack] for pack in packs]):
        packed_loss, packed_grads, packed_count = measured(*batches)
        assert packed_count == count == sum(SIZES) - len(SIZES)
        assert packed_loss == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(packed_grads, grads, rtol=1e-5, atol=1e-5)
