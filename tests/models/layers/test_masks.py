"""Masks, written out: rows are queries, columns are keys."""

from __future__ import annotations

import torch

from tfcli.models.layers.masks import AttentionMask, Sight, cross_mask, position_ids_of

CPU = torch.device("cpu")


def rows(mask: AttentionMask, queries: int, keys: int) -> list[str]:
    """A mask of one row of the batch as text."""
    dense = mask.visible(queries, keys, CPU)
    if dense is None:
        dense = torch.ones(1, 1, queries, keys, dtype=torch.bool)
    return ["".join(".x"[int(see)] for see in row) for row in dense[0, 0]]


def test_causal():
    assert rows(Sight(3, 0, CPU).causal(), 3, 3) == ["x..", "xx.", "xxx"]


def test_a_window_counts_the_query_itself():
    assert rows(Sight(4, 0, CPU).causal(window=2), 4, 4) == ["x...", "xx..", ".xx.", "..xx"]


def test_a_window_that_holds_everything_costs_no_mask():
    assert Sight(4, 0, CPU).causal(window=4).dense is None


def test_a_window_over_a_cache_that_kept_only_the_window():
    # Five positions are past, two of them are kept: keys 3, 4 and the new 5, 6.
    assert rows(Sight(2, 5, CPU).causal(2, window=3), 2, 4) == ["xxx.", ".xxx"]
    assert Sight(1, 5, CPU).causal(2, window=3).dense is None


def test_chunks_do_not_look_back_over_their_border():
    seen = rows(Sight(5, 0, CPU).causal(chunk=2), 5, 5)
    assert seen == ["x....", "xx...", "..x..", "..xx.", "....x"]
    assert rows(Sight(1, 4, CPU).causal(4, chunk=2), 1, 5) == ["....x"]


def test_chunks_begin_with_the_text():
    padded = Sight(5, 0, CPU, padding=torch.tensor([[0, 1, 1, 1, 1]])).causal(chunk=2)
    assert rows(padded, 5, 5)[1:] == [".x...", ".xx..", "...x.", "...xx"]
    packed = Sight(5, 0, CPU, segments=torch.tensor([[0, 0, 0, 1, 1]])).causal(chunk=2)
    assert rows(packed, 5, 5) == ["x....", "xx...", "..x..", "...x.", "...xx"]


def test_encoders_see_both_sides():
    assert rows(Sight(3, 0, CPU).full(), 3, 3) == ["xxx", "xxx", "xxx"]
    assert rows(Sight(4, 0, CPU).full(radius=1), 4, 4) == ["xx..", "xxx.", ".xxx", "..xx"]


def test_padding_is_hidden_and_sees_everything_rather_than_nothing():
    padding = torch.tensor([[0, 1, 1]])
    assert rows(Sight(3, 0, CPU, padding).causal(), 3, 3) == ["xxx", ".x.", ".xx"]
    assert rows(Sight(3, 0, CPU, padding).full(), 3, 3) == [".xx", ".xx", ".xx"]


def test_packed_texts_do_not_see_each_other():
    segments = torch.tensor([[0, 0, 1, 1]])
    sight = Sight(4, 0, CPU, segments=segments)
    assert rows(sight.causal(), 4, 4) == ["x...", "xx..", "..x.", "..xx"]
    assert rows(sight.full(), 4, 4) == ["xx..", "xx..", "..xx", "..xx"]
    assert rows(sight.full(radius=1), 4, 4) == ["xx..", "xx..", "..xx", "..xx"]


def test_layers_that_ask_alike_share_a_mask():
    sight = Sight(4, 0, CPU)
    assert sight.causal(window=2) is sight.causal(window=2)
    assert sight.causal(window=2) is not sight.causal(window=3)


def test_a_decoder_sees_the_encoder_s_tokens():
    mask = cross_mask(torch.tensor([[1, 1, 0]]), 2)
    assert rows(mask, 2, 3) == ["xx.", "xx."]
    assert cross_mask(None, 2).dense is None


def test_positions():
    assert position_ids_of(3, 2, CPU).tolist() == [[2, 3, 4]]
    padding = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    assert position_ids_of(4, 0, CPU, padding).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]
    assert position_ids_of(1, 3, CPU, padding).tolist() == [[1], [2]]
    segments = torch.tensor([[5, 5, 5, 2, 9, 9]])
    assert position_ids_of(6, 0, CPU, segments=segments).tolist() == [[0, 1, 2, 0, 0, 1]]


def test_bias_and_mask_in_one_tensor():
    bias = torch.arange(4.0).view(1, 1, 2, 2)
    additive = Sight(2, 0, CPU).causal().with_bias(bias).additive()
    assert additive.tolist() == [[[[0.0, float("-inf")], [2.0, 3.0]]]]
    assert AttentionMask(causal=True).additive() is None
