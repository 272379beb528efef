"""ALiBi at real sizes against transformers' own, with caches, padding and packed texts."""

from __future__ import annotations

import pytest
import torch
from transformers.models.bloom import modeling_bloom
from transformers.models.falcon import modeling_falcon

from tfcli.models.cache import Cache
from tfcli.models.caches.growing import GrowingStore
from tfcli.models.context import Context, begin
from tfcli.models.layers.alibi import Alibi, slopes

HEADS = (1, 6, 8, 12, 32, 71, 112)


def context(length: int, **more: torch.Tensor) -> Context:
    return begin(torch.zeros(1, length, 1), **more)


@pytest.mark.parametrize("heads", HEADS)
def test_slopes_equal_theirs(heads):
    theirs = modeling_bloom._get_alibi_slopes(heads, torch.device("cpu"))
    torch.testing.assert_close(slopes(heads), theirs, rtol=1e-6, atol=0)


def test_slopes_of_a_power_of_two_are_a_geometric_series():
    assert slopes(4).tolist() == [2**-2, 2**-4, 2**-6, 2**-8]
    assert slopes(3).tolist() == [2**-4, 2**-8, 2**-2]  # of two, then the first of four


@pytest.mark.parametrize("heads", HEADS)
def test_rounding_equals_falcons(heads):
    ones = torch.ones(1, 2048, dtype=torch.long)
    theirs = modeling_falcon.build_alibi_tensor(ones, heads, torch.float32)
    ours = Alibi(heads, rounded=True).heights(torch.arange(2048)[None])
    assert torch.equal(ours[0], theirs[:, 0])


def test_a_query_counts_back_from_itself():
    bias = Alibi(2, scale=0.5).bias(context(4), layer=0)
    assert bias.shape == (1, 2, 4, 4)
    assert bias[0, 0, 3].tolist() == [0.5 * 2**-4 * distance for distance in (-3, -2, -1, 0)]
    assert bias[0, 1, 3].tolist() == [0.5 * 2**-8 * distance for distance in (-3, -2, -1, 0)]


def test_a_cached_step_has_the_last_row_of_the_whole():
    alibi, cache = Alibi(2), Cache({(0, "attention"): GrowingStore()}, torch.device("cpu"))
    cache.store(0).update(torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 5, 4))
    cache.advance(5)
    step = begin(torch.zeros(1, 1, 1), cache=cache)
    assert torch.equal(alibi.bias(step, 0), alibi.bias(context(6), 0)[:, :, -1:])


# Twelve heads have slopes that bfloat16 cannot hold: rounding makes positions themselves count.


def test_padding_counts_for_nothing():
    alibi = Alibi(12, rounded=True)
    padded = context(6, attention_mask=torch.tensor([[0, 0, 1, 1, 1, 1]]))
    assert torch.equal(alibi.bias(padded, 0)[..., 2:, 2:], alibi.bias(context(4), 0))


def test_a_packed_text_has_the_bias_that_it_has_alone():
    alibi = Alibi(12, rounded=True)
    packed = context(9, segment_ids=torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1, 1]]))
    assert torch.equal(alibi.bias(packed, 0)[..., 5:, 5:], alibi.bias(context(4), 0))


def test_layers_share_one_mask():
    alibi, shared = Alibi(2), context(4)
    mask = alibi.mask(shared, layer=0)
    assert alibi.mask(shared, layer=1) is mask
    assert Alibi(2).mask(shared, layer=0) is not mask
    assert mask.causal and mask.bias is not None
