from __future__ import annotations

import pytest
import torch

from tests.models.heads.test_masked_lm import TINY
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize

IDS = torch.arange(4, 12)[None]
BOXES = torch.tensor([10, 20, 30, 60]).expand(1, 8, 4)


@pytest.fixture
def model():
    config = config_from_recipe({"model_type": "layoutlm", **TINY})
    return initialize(build(config, "token-classification")).eval()


def test_every_edge_counts(model):
    logits = model(IDS, bbox=BOXES).logits
    for edge in range(4):
        moved = BOXES.clone()
        moved[0, 3, edge] += 1
        assert not torch.allclose(model(IDS, bbox=moved).logits, logits)


def test_without_boxes_they_are_zero(model):
    assert torch.equal(model(IDS).logits, model(IDS, bbox=torch.zeros_like(BOXES)).logits)


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ([0, 0, 0, 1024], "the coordinate 1024, outside of 0 to 1023"),
        ([-1, 0, 0, 0], "the coordinate -1, outside of 0 to 1023"),
        ([7, 0, 6, 0], "ends before it begins"),
        ([0, 7, 0, 6], "ends before it begins"),
        ([0, 0, 1], r"bbox has shape \(1, 8, 3\), expected \(1, 8, 4\)"),
    ],
)
def test_boxes_that_are_none(model, box, problem):
    with pytest.raises(ModelError, match=problem):
        model(IDS, bbox=torch.tensor(box).expand(1, 8, -1))
