from __future__ import annotations

import pytest
import torch

from tests.models.heads.test_masked_lm import TINY
from tfcli.models.config import config_from_recipe
from tfcli.models.context import begin
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize
from tfcli.models.text.tapas import first_in_cell

IDS = torch.arange(4, 12)[None]


def tapas(**changes):
    config = config_from_recipe({"model_type": "tapas", **TINY, **changes})
    return initialize(build(config, "masked-lm")).eval()


def cells(*places):
    """Token types of tokens in (column, row)."""
    types = torch.zeros(1, len(places), 7, dtype=torch.long)
    types[0, :, 1:3] = torch.tensor(places)
    return types


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, [0, 0, 2, 2, 4, 2, 0]),
        ({"attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1, 1]])}, [0, 0, 0, 0, 2, 0, 4]),
        ({"segment_ids": torch.tensor([[0, 0, 0, 1, 1, 1, 1]])}, [0, 0, 2, 0, 1, 0, 3]),
    ],
    ids=["whole", "padded", "packed"],
)
def test_the_first_token_of_each_cell(more, expected):
    types = cells((0, 0), (0, 0), (1, 1), (1, 1), (2, 1), (1, 1), (0, 0))
    context = begin(types.new_zeros((*types.shape[:2], 1)), **more)
    assert first_in_cell(types, context)[0].tolist() == expected


def test_cells_may_lie_past_the_last_position():
    """Only a single cell can be too long, and then its last position repeats."""
    model = tapas(max_position_embeddings=4)
    types = cells(*[(0, 0)] * 4, *[(1, 1)] * 4)
    assert model(IDS, token_type_ids=types).logits.shape == (1, 8, 23)
    with pytest.raises(ModelError, match="8 positions, but the model has 4"):
        tapas(max_position_embeddings=4, reset_position_index_per_cell=False)(IDS)


def test_token_types_that_do_not_fit():
    model = tapas(type_vocab_sizes=[3, 2, 4, 2, 5, 5, 4])
    with pytest.raises(ModelError, match=r"has shape \(1, 8\), expected \(1, 8, 7\)"):
        model(IDS, token_type_ids=torch.zeros_like(IDS))
    with pytest.raises(ModelError, match=r"id 2 is outside.*token_type_ids\[:, :, 1\]"):
        model(IDS, token_type_ids=cells(*[(2, 0)] * 8))


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ([3, 0, 4], "from 1 to"),
        ([3, "4", 4], "must be int, not '4'"),
        ([3, 4], "must have columns and rows"),
    ],
)
def test_configs_that_are_refused(sizes, problem):
    with pytest.raises(ModelError, match=f"type_vocab_sizes must .*{problem}|{problem}"):
        tapas(type_vocab_sizes=sizes)
