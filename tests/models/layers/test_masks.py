"""Masks, written out: rows are queries, columns are keys."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma3TextConfig
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.models.gemma3.modeling_gemma3 import create_masks_for_vision_model

from tfcli.models.layers.masks import (
    AttentionMask,
    Sight,
    cross_mask,
    has_padding,
    position_ids_of,
)

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
    assert not Sight(4, 0, CPU).causal(window=4).limited


def test_a_window_over_a_cache_that_kept_only_the_window():
    # Five positions are past, two of them are kept: keys 3, 4 and the new 5, 6.
    assert rows(Sight(2, 5, CPU).causal(2, window=3), 2, 4) == ["xxx.", ".xxx"]
    assert not Sight(1, 5, CPU).causal(2, window=3).limited


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
    assert not cross_mask(None, 2).limited


def test_positions():
    assert position_ids_of(3, 2, CPU).tolist() == [[2, 3, 4]]
    padding = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    assert position_ids_of(4, 0, CPU, padding).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]
    assert position_ids_of(1, 3, CPU, padding).tolist() == [[1], [2]]
    segments = torch.tensor([[5, 5, 5, 2, 9, 9]])
    assert position_ids_of(6, 0, CPU, segments=segments).tolist() == [[0, 1, 2, 0, 0, 1]]


def test_bias_and_mask_in_one_tensor():
    bias = torch.arange(4.0).view(1, 1, 2, 2)
    mask = Sight(2, 0, CPU).causal().with_bias(bias)
    for dtype in (torch.float32, torch.bfloat16):  # each is made once
        assert mask.additive(dtype).dtype == dtype
        assert mask.additive(dtype) is mask.additive(dtype)
        assert mask.additive(dtype).tolist() == [[[[0.0, float("-inf")], [2.0, 3.0]]]]
    assert AttentionMask(causal=True).additive(torch.float32) is None


def test_tokens_of_a_group_see_each_other():
    groups = torch.tensor([[-1, 0, 0, 1, 1, -1]])
    sight = Sight(6, 0, CPU, groups=groups)
    expected = ["x.....", "xxx...", "xxx...", "xxxxx.", "xxxxx.", "xxxxxx"]
    assert rows(sight.causal(), 6, 6) == expected
    expected = ["x.....", ".xx...", ".xx...", "...xx.", "...xx.", ".....x"]
    assert rows(sight.causal(window=1), 6, 6) == expected
    assert rows(sight.full(radius=0), 6, 6) == expected
    assert not sight.full().limited


def test_a_group_does_not_see_padding_or_other_texts():
    groups = torch.zeros(1, 4, dtype=torch.long)
    padded = Sight(4, 0, CPU, padding=torch.tensor([[0, 1, 1, 1]]), groups=groups)
    assert rows(padded.causal(), 4, 4) == [".xxx"] * 4
    packed = Sight(4, 0, CPU, segments=torch.tensor([[0, 0, 1, 1]]), groups=groups)
    assert rows(packed.causal(), 4, 4) == ["xx..", "xx..", "..xx", "..xx"]


def test_groups_of_a_later_call_leave_what_a_cache_holds_alone():
    groups = torch.tensor([[0, 0, -1]])
    sight = Sight(3, 2, CPU, groups=groups)
    assert rows(sight.causal(2), 3, 5) == ["xxxx.", "xxxx.", "xxxxx"]
    assert rows(sight.causal(2, window=1), 3, 5) == ["..xx.", "..xx.", "....x"]
    assert not Sight(1, 4, CPU, groups=groups[:, :1]).causal(4).limited  # one token sees it all


@pytest.mark.parametrize("within", [False, True], ids=["past windows", "within windows"])
def test_groups_equal_theirs(within):
    """The masks of PaliGemma's prefixes and of Gemma 3's images, as transformers makes them."""
    config = Gemma3TextConfig(sliding_window=3, attn_implementation="eager", num_hidden_layers=1)
    groups = torch.tensor([[-1, 0, 0, 0, 0, 0, -1, 1, 1], [-1, -1, -1, 0, 0, 0, 0, -1, -1]])
    padding = torch.tensor([[1] * 9, [0, 0] + [1] * 7])
    given = {
        "config": config,
        "inputs_embeds": torch.zeros(2, 9, 4),
        "attention_mask": padding,
        "past_key_values": None,
        "block_sequence_ids": groups,
    }
    sight = Sight(9, 0, CPU, padding, groups=groups, groups_in_window=within)
    if within:
        masks = create_masks_for_vision_model(position_ids=None, **given)
        expected = [masks["full_attention"], masks["sliding_attention"]]
    else:
        expected = [create_causal_mask(**given), create_sliding_window_causal_mask(**given)]
    real = padding.bool()
    for ours, matrix in zip((sight.causal(), sight.causal(window=3)), expected, strict=True):
        theirs = matrix[:, 0] == 0
        assert torch.equal(ours.visible(9, 9, CPU)[:, 0][real], theirs[real])


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("kept", [0, 3])
@pytest.mark.parametrize("limits", [{}, {"window": 4}, {"chunk": 4}], ids=str)
def test_the_rule_asked_one_by_one_is_the_rule_written_out(kept, limits, within):
    """flex_attention asks for a pair at a time; queries that see nothing get zeros there."""
    draw = torch.Generator().manual_seed(0)
    padding = torch.tensor([[0] * 2 + [1] * (kept + 4), [1] * (kept + 6)])
    groups = torch.randint(-1, 2, (2, 6), generator=draw)
    sight = Sight(6, kept, CPU, padding, groups=groups, groups_in_window=within)
    mask = sight.causal(kept, **limits)
    matrix, ask = mask.visible(6, kept + 6, CPU), mask.rule.mask_mod()
    numbers = [torch.arange(n) for n in (2, 6, kept + 6)]
    b, q, k = torch.meshgrid(*numbers, indexing="ij")
    asked = ask(b, 0, q, k)
    filled = asked.any(-1)
    assert filled.sum() >= 10
    assert torch.equal(asked[filled], matrix[:, 0][filled])


def test_flex_needs_no_matrix(monkeypatch):
    monkeypatch.setattr(AttentionMask, "visible", None)
    for mask in (Sight(4, 0, CPU).causal(), Sight(4, 0, CPU).causal(window=2)):
        assert mask.block_mask(4, 4, CPU) is mask.block_mask(4, 4, CPU)  # and makes it once
    assert AttentionMask().block_mask(4, 4, CPU) is None


def test_a_matrix_is_made_once():
    mask = Sight(4, 0, CPU).causal(window=2)
    assert mask.visible(4, 4, CPU) is mask.visible(4, 4, CPU)


def test_a_second_part_of_a_prompt_is_causal_without_a_matrix():
    mask = Sight(2, 3, CPU).causal(3)
    assert mask.causal and not mask.limited
    assert rows(mask, 2, 5) == ["xxxx.", "xxxxx"]


def test_a_mask_on_a_device_counts_as_padding_unread():
    ones = torch.ones(2, 5, dtype=torch.long)
    assert not has_padding(ones, 2, 5)
    assert has_padding(ones.index_fill(1, torch.tensor([0]), 0), 2, 5)
    assert has_padding(ones.to("meta"), 2, 5)
