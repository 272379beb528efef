"""Latent attention: two ways to compute it, and what its cache holds."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.cache import DynamicCache
from tfcli.models.context import begin
from tfcli.models.layers.latent_attention import LatentAttention
from tfcli.models.layers.linear import Linear
from tfcli.models.layers.rotary import Rotary
from tfcli.models.registry import read_config

ROPE = {"rope_type": "default", "rope_theta": 1e4}


def attention(query_rank=6):
    torch.manual_seed(0)
    return LatentAttention(
        16,
        2,
        query_rank=query_rank,
        rank=12,
        plain_dim=6,
        turned_dim=4,
        value_dim=8,
        layer=0,
        rotary=Rotary(ROPE, 4, 32, neighbours=True),
        backend="sdpa",
        scale=0.3,
        bias=False,
        dropout=0.0,
    ).eval()


def in_steps(layer, x, steps):
    cache, parts = DynamicCache(), []
    for part in x.split(steps, dim=1):
        parts.append(layer(part, begin(part, cache=cache)))
        cache.length += part.shape[1]
    return torch.cat(parts, dim=1), cache


@pytest.mark.parametrize("query_rank", [None, 6])
@pytest.mark.parametrize("steps", [[1] * 9, [5, 3, 1]])
def test_folding_the_weights_into_queries_changes_nothing(query_rank, steps, monkeypatch):
    layer, x = attention(query_rank), torch.randn(2, 9, 16)
    ways = []
    for name in ("absorbed", "expanded"):
        way = getattr(layer, name)
        monkeypatch.setattr(layer, name, lambda *a, n=name, w=way: ways.append(n) or w(*a))
    with torch.no_grad():
        folded, _ = in_steps(layer, x, steps)
        assert set(ways) == {"absorbed"}
        torch.testing.assert_close(folded, layer(x, begin(x)))
    assert ways[-1] == "expanded"


def test_a_long_prompt_is_not_folded():
    layer = attention()
    x = torch.randn(1, 40, 16)  # 40 * (24 - 14) is more than 12 * 14
    with torch.no_grad():
        assert not layer.absorbs(40, begin(x, cache=DynamicCache()))
        assert layer.absorbs(10, begin(x, cache=DynamicCache()))


def test_a_linear_that_was_replaced_is_called():
    """An adapter does more than multiply by a weight, and a quantized layer has none."""

    class Doubled(Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    layer, x = attention(), torch.randn(1, 9, 16)
    layer.kv_b_proj.__class__ = Doubled
    with torch.no_grad():
        stepwise, _ = in_steps(layer, x, [1] * 9)
        torch.testing.assert_close(stepwise, layer(x, begin(x)))


def test_the_cache_holds_latent_states():
    with torch.no_grad():
        _, cache = in_steps(attention(), torch.randn(2, 9, 16), [9])
    latent, turned = cache.stores[0]._pair
    assert latent.shape == (2, 1, 9, 12) and turned.shape == (2, 1, 9, 4)


def test_the_config_says_what_the_cache_holds():
    sizes = {"kv_lora_rank": 12, "qk_rope_head_dim": 4}
    assert read_config({"model_type": "deepseek_v3", **sizes}).cached_per_position == 16


def test_gradients_flow_with_a_cache():
    layer, x = attention(), torch.randn(1, 4, 16, requires_grad=True)
    in_steps(layer, x, [3, 1])[0].sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
