"""Latent attention: two ways to compute it, and what its cache holds."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.cache import make_cache
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
        rotary=Rotary(ROPE, 4, 32, interleaved=True),
        backend="sdpa",
        scale=0.3,
        bias=False,
        dropout=0.0,
    ).eval()


def in_steps(layer, x, steps):
    cache, parts = make_cache(layer), []
    for part in x.split(steps, dim=1):
        parts.append(layer(part, begin(part, cache=cache)))
        cache.advance(part.shape[1])
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
        assert not layer.absorbs(40, begin(x, cache=make_cache(layer)))
        assert layer.absorbs(10, begin(x, cache=make_cache(layer)))


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


def test_the_cache_holds_latent_states_and_turned_parts_side_by_side():
    with torch.no_grad():
        _, cache = in_steps(attention(), torch.randn(2, 9, 16), [9])
    (joined,) = cache.store(0).content().values()
    assert joined.shape == (2, 1, 9, 12 + 4)


def test_a_step_copies_nothing_of_the_past():
    """What attention gets is the store's own memory."""
    layer, x = attention(), torch.randn(1, 9, 16)
    with torch.no_grad():
        _, cache = in_steps(layer, x[:, :8], [8])
        given = []
        attend = layer.attend.forward
        layer.attend.forward = lambda *a: given.append(a[1]) or attend(*a)
        layer(x[:, 8:], begin(x[:, 8:], cache=cache))
    (key,), (room,) = given, cache.store(0).tensors()
    assert key.shape[2] == 9 and key.data_ptr() == room.data_ptr()


def test_the_config_says_what_the_cache_holds():
    sizes = {"kv_lora_rank": 12, "qk_rope_head_dim": 4}
    assert read_config({"model_type": "deepseek_v3", **sizes}).cached_per_position == 16


def test_gradients_flow_with_a_cache():
    layer, x = attention(), torch.randn(1, 4, 16, requires_grad=True)
    in_steps(layer, x, [3, 1])[0].sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
