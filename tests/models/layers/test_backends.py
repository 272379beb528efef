from __future__ import annotations

import pytest
import torch

from tfcli.models.errors import ModelError
from tfcli.models.layers import backends
from tfcli.models.layers.backends import Scores, available_backends, get_backend
from tfcli.models.layers.masks import AttentionMask, Sight

CPU = torch.device("cpu")


def qkv(**options):
    torch.manual_seed(0)
    shapes = ((2, 4, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8))
    return [torch.randn(shape, **options) for shape in shapes]


def test_eager_is_the_formula():
    query, key, value = (x[:, :1].double() for x in qkv())
    out = backends.eager(query, key, value, AttentionMask(causal=True), Scores(0.5))
    for at in range(5):
        weights = (query[0, 0, at] @ key[0, 0, : at + 1].T * 0.5).softmax(-1)
        assert torch.allclose(out[0, 0, at], weights @ value[0, 0, : at + 1], atol=1e-6)


def test_no_mask_is_held_without_padding():
    assert Sight(5, 0, CPU).causal().dense is None
    assert Sight(1, 4, CPU).causal(4).dense is None
    assert Sight(5, 0, CPU).full().dense is None
    assert Sight(2, 4, CPU).causal(4).dense.shape == (1, 1, 2, 6)


def test_mask_of_a_chunk_after_a_prefix():
    dense = Sight(2, 2, CPU, padding=torch.tensor([[0, 1, 1, 1]])).causal(2).dense
    assert dense[0, 0].int().tolist() == [[0, 1, 1, 0], [0, 1, 1, 1]]


def test_fused_backends_say_what_they_cannot_do():
    query, key, value = qkv(requires_grad=True)
    with pytest.raises(ModelError, match="flex attention has no backward pass on a CPU"):
        get_backend("flex")(query, key, value, AttentionMask(), Scores(1.0))
    for name in ("flex", "flash"):
        with pytest.raises(ModelError, match=f"{name} attention has no dropout"):
            get_backend(name)(query, key, value, AttentionMask(), Scores(1.0, dropout=0.1))


def test_a_backend_that_this_torch_lacks_is_refused(monkeypatch):
    assert available_backends() == ("sdpa", "eager", "flex", "flash")
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="no flex attention"):
        get_backend("flex")
