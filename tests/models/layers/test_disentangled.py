from __future__ import annotations

import pytest
import torch
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from tfcli.models.context import begin
from tfcli.models.layers.disentangled import (
    DisentangledAttention,
    Relative,
    log_buckets,
    relative_rows,
)


@pytest.mark.parametrize(("buckets", "limit"), [(256, 512), (32, 128), (4, 32), (2, 16), (7, 100)])
def test_buckets_are_theirs_at_every_distance(buckets, limit):
    distances = torch.arange(-3 * limit, 3 * limit + 1)
    expected = make_log_bucket_position(distances, buckets, limit).long()
    assert torch.equal(log_buckets(distances, buckets, limit), expected)


def test_near_distances_are_their_own_buckets_and_far_ones_share():
    grouped = log_buckets(torch.arange(512), 256, 512)
    assert grouped[:129].tolist() == list(range(129))
    assert grouped[510] == grouped[511] == 255
    assert torch.equal(log_buckets(-torch.arange(512), 256, 512), -grouped)


def test_rows_count_from_the_middle_of_the_table_and_stop_at_its_ends():
    rows = relative_rows(5, 2, 0, 0, torch.device("cpu"))
    assert rows.tolist() == [
        [2, 1, 0, 0, 0],
        [3, 2, 1, 0, 0],
        [3, 3, 2, 1, 0],
        [3, 3, 3, 2, 1],
        [3, 3, 3, 3, 2],
    ]


def test_the_bias_is_the_formula_pair_by_pair():
    torch.manual_seed(0)
    heads, length, span, size = 2, 5, 2, 8
    layer = DisentangledAttention(
        size,
        heads,
        0.0,
        "eager",
        to_position=True,
        from_position=True,
        relative=True,
        shared=False,
        table_dropout=0.0,
    )
    table = torch.randn(1, 2 * span, size)
    rows = relative_rows(length, span, 0, 0, torch.device("cpu"))
    query, key = torch.randn(2, 3, heads, length, size // heads)
    with torch.no_grad():
        bias = layer.bias(query, key, Relative(table, rows))
        to_key, to_query = layer.pos_key_proj(table)[0], layer.pos_query_proj(table)[0]
        for head in range(heads):
            part = slice(head * 4, head * 4 + 4)
            for i in range(length):
                for j in range(length):
                    row = rows[i, j]
                    score = query[1, head, i] @ to_key[row, part]
                    score = score + key[1, head, j] @ to_query[row, part]
                    expected = score / (4 * 3) ** 0.5
                    assert bias[1, head, i, j] == pytest.approx(expected.item(), abs=1e-6)


def test_shared_projections_are_those_of_queries_and_keys():
    layer = DisentangledAttention(
        8,
        2,
        0.0,
        "eager",
        to_position=True,
        from_position=True,
        relative=True,
        shared=True,
        table_dropout=0.0,
    )
    assert {name for name, _ in layer.named_children()} == {
        "query_proj",
        "key_proj",
        "value_proj",
        "pos_dropout",
        "attend",
    }
    x = torch.randn(1, 3, 8)
    rows = relative_rows(3, 2, 0, 0, torch.device("cpu"))
    out = layer(x, begin(x), Relative(torch.randn(1, 4, 8), rows))
    assert out.shape == (1, 3, 8)
