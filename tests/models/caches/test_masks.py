"""Masks from places, written out: rows are queries, columns are keys."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.caches.masks import fixed_positions, placed_mask, widened
from tfcli.models.errors import ModelError
from tfcli.models.layers.masks import Sight, position_ids_of


def rows(queries: list[int], keys: list[int], **limits) -> list[str]:
    mask = placed_mask(torch.tensor(queries), torch.tensor(keys), **limits)
    seen = mask.visible(len(queries), len(keys), torch.device("cpu"))
    return ["".join(".x"[int(one)] for one in row) for row in seen[0, 0]]


def test_places_that_follow_each_other_have_the_usual_mask():
    for limits in ({}, {"window": 3}, {"chunk": 4}):
        usual = Sight(3, 5, torch.device("cpu")).causal(5, **limits)
        usual = ["".join(".x"[int(one)] for one in row) for row in usual.visible(3, 8, "cpu")[0, 0]]
        assert rows([5, 6, 7], list(range(8)), **limits) == usual


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("limits", [{}, {"window": 2}, {"chunk": 4}], ids=str)
def test_places_that_follow_each_other_have_the_usual_groups(limits, within):
    groups = torch.tensor([[-1, 0, 0, 0, 1, 1]])
    sight = Sight(6, 2, torch.device("cpu"), groups=groups, groups_in_window=within)
    usual = sight.causal(2, **limits).visible(6, 8, torch.device("cpu"))
    at = torch.arange(10)
    found = placed_mask(at[2:8], at, groups=groups, groups_in_window=within, **limits)
    seen = found.visible(6, 10, torch.device("cpu"))
    assert torch.equal(seen[..., :8], usual)
    assert not seen[..., 8:].any()  # room for what is still to come


def test_places_of_a_ring_and_places_with_nothing_yet():
    assert rows([6], [6, 4, 5]) == ["xxx"]
    assert rows([1, 2], [-2, -1, 0, 1, 2], window=2) == ["..xx.", "...xx"]


def test_the_beginning_is_seen_from_everywhere():
    assert rows([8, 9], [0, 1, 6, 7, 8, 9], window=2, always=2) == ["xx.xx.", "xx..xx"]


def test_padding_is_read_at_the_keys_places():
    padding = torch.tensor([[0, 1, 1, 1, 0, 1]])
    assert rows([5], [5, 0, 4, 1], padding=padding) == ["x..x"]
    assert rows([0], [0, 1], padding=padding) == ["xx"]  # a query that sees nothing sees all


def test_stretches_begin_behind_the_padding():
    padding = torch.tensor([[0, 1, 1, 1, 1, 1, 1]])
    assert rows([4, 5], [5, 2, 3, 4, 1], chunk=2, padding=padding) == ["..xx.", "x...."]
    assert rows([4, 5], [5, 2, 3, 4, 1], chunk=2) == ["...x.", "x..x."]


@pytest.mark.parametrize("padding", [None, torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1]])])
def test_positions_after_a_number_that_the_device_knows(padding):
    found = fixed_positions(torch.tensor(3), 2, padding)
    seen = None if padding is None else padding[:, :5]
    assert torch.equal(found, position_ids_of(2, 3, torch.device("cpu"), seen))


def test_a_mask_that_ends_early_says_nothing_of_what_is_to_come():
    assert widened(None, 2, 5) is None
    assert widened(torch.tensor([[0, 1]]), 1, 4).tolist() == [[0, 1, 1, 1]]
    with pytest.raises(ModelError, match="expected 2 rows of at most 5"):
        widened(torch.ones(2, 6), 2, 5)
