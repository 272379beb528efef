"""T5's relative position bias, against a definition in plain Python and against transformers."""

from __future__ import annotations

import math

import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

from tfcli.models.layers.relative_bias import RelativeBias, bucket_of


def plain_bucket(distance: int, buckets: int, max_distance: int, bidirectional: bool) -> int:
    first = 0
    if bidirectional:
        buckets //= 2
        first = buckets if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    share = math.log(distance / exact) / math.log(max_distance / exact)
    return first + min(exact + int(share * (buckets - exact)), buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20), (4, 5), (10, 1000)])
def test_buckets(buckets, max_distance, bidirectional):
    distances = torch.arange(-300, 301)
    own = bucket_of(distances, buckets, max_distance, bidirectional)
    theirs = T5Attention._relative_position_bucket(distances, bidirectional, buckets, max_distance)
    assert torch.equal(own, theirs)
    # A power of the growth factor may fall on either side of a border in float32.
    plain = [plain_bucket(int(d), buckets, max_distance, bidirectional) for d in distances]
    assert (own - torch.tensor(plain)).abs().max() <= 1
    assert (own == torch.tensor(plain)).float().mean() > 0.98
    assert own.min() >= 0 and own.max() < buckets


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("queries", "keys"), [(9, 9), (1, 7), (3, 8), (1, 1)])
def test_the_bias_of_a_pair_follows_from_its_distance(queries, keys, bidirectional):
    layer = RelativeBias(8, 3, 20, bidirectional)
    bias = layer(queries, keys)
    assert bias.shape == (1, 3, queries, keys)
    for row in range(queries):
        for key in range(keys):
            distance = torch.tensor(key - (keys - queries + row))
            expected = layer.weight[bucket_of(distance, 8, 20, bidirectional)]
            assert torch.equal(bias[0, :, row, key], expected)


def test_places_may_be_any():
    layer = RelativeBias(8, 3, 20, False)
    query_at, key_at = torch.tensor([7, 8]), torch.tensor([0, 3, 7, 8, 2])
    whole = layer(9, 9)
    assert torch.equal(layer.between(query_at, key_at), whole[:, :, query_at][..., key_at])


def test_the_gradient_counts_every_pair():
    layer = RelativeBias(8, 2, 20, True)
    bias = layer(5, 5)
    bias.sum().backward()
    at = torch.arange(5)
    counts = torch.bincount(bucket_of(at - at[:, None], 8, 20, True).flatten(), minlength=8)
    assert torch.equal(layer.weight.grad, counts[:, None].float().expand(-1, 2))
