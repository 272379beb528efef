"""Which experts tokens go to, and the loss that keeps their load even."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.layers.routing import GroupedRouter, SoftmaxRouter, load_balance


def softmax_router(scores, **options):
    """A router that gives these scores to the one state [1]."""
    router = SoftmaxRouter(1, len(scores), 2, **{"normalize": False} | options)
    with torch.no_grad():
        router.weight.copy_(torch.tensor(scores).log()[:, None])
    return router


def grouped_router(scores, **options):
    """The same for sigmoid scores: four experts a group."""
    defaults = {"groups": 2, "kept_groups": 1, "normalize": False, "scale": 1.0}
    router = GroupedRouter(1, len(scores), 2, **defaults | options)
    with torch.no_grad():
        router.weight.copy_(torch.tensor(scores).logit()[:, None])
    return router


def test_the_most_probable_experts_are_chosen():
    logits, weights, chosen = softmax_router([0.1, 0.4, 0.2, 0.3])(torch.ones(1, 1))
    torch.testing.assert_close(logits, torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log())
    assert chosen.tolist() == [[1, 3]]
    torch.testing.assert_close(weights, torch.tensor([[0.4, 0.3]]))


def test_normalized_weights_sum_to_one():
    weights = softmax_router([0.1, 0.4, 0.2, 0.3], normalize=True)(torch.ones(1, 1)).weights
    torch.testing.assert_close(weights, torch.tensor([[4 / 7, 3 / 7]]))


def test_probabilities_are_in_float32_for_a_model_in_bfloat16():
    router = softmax_router([0.1, 0.4, 0.2, 0.3]).bfloat16()
    assert router(torch.ones(1, 1, dtype=torch.bfloat16)).weights.dtype == torch.float32


def test_only_experts_of_the_best_group_are_chosen():
    # The best expert, 0, is in the group whose two best are worse together.
    scores = [0.9, 0.1, 0.1, 0.1, 0.6, 0.2, 0.7, 0.1]
    limited = grouped_router(scores)(torch.ones(1, 1))
    assert sorted(limited.chosen[0].tolist()) == [4, 6]
    free = grouped_router(scores, kept_groups=2)(torch.ones(1, 1))
    assert sorted(free.chosen[0].tolist()) == [0, 6]


def test_the_balancing_bias_moves_the_choice_and_not_the_weights():
    router = grouped_router([0.5, 0.4, 0.3, 0.2], groups=1, scale=2.0)
    router.e_score_correction_bias[3] = 1.0
    _, weights, chosen = router(torch.ones(1, 1))
    assert chosen.tolist() == [[3, 0]]
    torch.testing.assert_close(weights, torch.tensor([[0.4, 1.0]]))


def test_scores_of_groups_are_in_float32_whatever_the_model_and_autocast_say():
    options = {"groups": 1, "kept_groups": 1, "normalize": False, "scale": 1.0}
    router = GroupedRouter(8, 4, 2, **options)
    torch.nn.init.normal_(router.weight)
    router, x = router.bfloat16(), torch.randn(3, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        routing = router(x)
    torch.testing.assert_close(routing.logits, x.float() @ router.weight.float().T)
    assert routing.weights.dtype == torch.float32


def test_even_use_of_experts_costs_the_least():
    even = [torch.eye(4).repeat(3, 1) * 9] * 2
    assert load_balance(even, 1) == pytest.approx(1.0, rel=1e-3)
    uneven = [torch.tensor([[9.0, 0.0, 0.0, 0.0]]).repeat(12, 1)] * 2
    assert load_balance(uneven, 1) > 3.9


def test_padding_does_not_count_in_the_balance():
    logits = torch.randn(2 * 6, 4, generator=torch.Generator().manual_seed(0))
    padding = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    alone = logits[padding.flatten().bool()]
    torch.testing.assert_close(load_balance([logits], 2, padding), load_balance([alone], 2))
