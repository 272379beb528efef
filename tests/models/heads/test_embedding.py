from __future__ import annotations

import pytest
import torch

from tests.models.test_loading import IDS, checkpoint
from tfcli.models.errors import ModelError
from tfcli.models.heads.embedding import POOLINGS, pool

STATES = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [5.0, 1.0]]])  # of three tokens
EXPECTED = {"mean": [[3.0, 1.0]], "cls": [[1.0, 0.0]], "last": [[5.0, 1.0]]}


def padded(side):
    """The same three tokens beside two of padding, and the mask that says so."""
    junk, mask = torch.full((1, 2, 2), 9.0), torch.ones(1, 3)
    parts = [(junk, torch.zeros(1, 2)), (STATES, mask)]
    states, masks = zip(*(parts if side == "left" else parts[::-1]), strict=True)
    return torch.cat(states, 1), torch.cat(masks, 1)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling(pooling):
    assert pool(STATES, None, pooling).tolist() == EXPECTED[pooling]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_leaves_padding_out(pooling, side):
    states, mask = padded(side)
    for kind in (torch.float, torch.long, torch.bool):
        assert pool(states, mask.to(kind), pooling).tolist() == EXPECTED[pooling]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_of_padding_alone_is_finite(pooling):
    assert torch.isfinite(pool(STATES, torch.zeros(1, 3), pooling)).all()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_vectors_have_length_one_unless_told(model_type, pooling):
    model, _ = checkpoint(model_type, "embedding")
    model.set_pooling(pooling)
    unit = model(IDS).logits
    model.set_pooling(pooling, normalize=False)
    plain = model(IDS).logits
    assert unit.shape == (1, 16)
    assert torch.allclose(unit.norm(dim=-1), torch.ones(1))
    assert torch.allclose(unit * plain.norm(dim=-1), plain, atol=1e-6)


def test_an_unknown_pooling_is_refused():
    model, _ = checkpoint("bert", "embedding")
    with pytest.raises(ModelError, match=r"unknown pooling 'man'.*did you mean 'mean'"):
        model.set_pooling("man")


def test_labels_are_refused():
    model, _ = checkpoint("bert", "embedding")
    with pytest.raises(ModelError, match="no loss of its own"):
        model(IDS, labels=torch.zeros(1))
