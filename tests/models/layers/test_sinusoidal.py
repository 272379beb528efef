"""Computed positions, bit for bit as transformers computes them."""

from __future__ import annotations

import pytest
import torch
from transformers.models.m2m_100.modeling_m2m_100 import (
    M2M100SinusoidalPositionalEmbedding as TheirFairseq,
)
from transformers.models.marian.modeling_marian import (
    MarianSinusoidalPositionalEmbedding as TheirMarian,
)

from tfcli.models.layers.sinusoidal import SinusoidalPositions, fairseq_sines, sines


@pytest.mark.parametrize(("positions", "size"), [(512, 64), (1024, 96), (17, 7)])
def test_sines(positions, size):
    expected = TheirMarian(positions, size).create_weight()
    assert torch.equal(sines(positions, size), expected)


@pytest.mark.parametrize(("positions", "size"), [(512, 64), (1026, 96), (17, 7)])
def test_fairseq_sines(positions, size):
    expected = TheirFairseq.get_embedding(positions, size, 1)
    assert torch.equal(fairseq_sines(positions, size, 1), expected)


def test_positions_are_looked_up():
    layer = SinusoidalPositions(9, 6)
    layer.weight = layer.table()
    ids = torch.tensor([[0, 3], [8, 3]])
    assert torch.equal(layer(ids), sines(9, 6)[ids])
    assert layer(ids)[0, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_only_a_stored_table_is_in_the_state():
    assert list(SinusoidalPositions(9, 6).state_dict()) == ["weight"]
    assert not SinusoidalPositions(9, 6, stored=False).state_dict()
