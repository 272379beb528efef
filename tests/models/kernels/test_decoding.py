"""A model decodes alike by the kernels and by torch, alone and in a batch."""

from __future__ import annotations

import pytest
import torch

from tfcli.checkpoints.folder import load_model
from tfcli.models.kernels import dense, library


@pytest.fixture
def served(monkeypatch):
    """Kernels for the small weights of a tiny model too; lists the products that they served."""
    monkeypatch.setattr(dense, "LEAST_WEIGHTS", 1)
    found, matvec = [], dense.matvec

    def listed(*given):
        out = matvec(*given)
        found.extend([] if out is None else [out])
        return out

    monkeypatch.setattr(dense, "matvec", listed)
    return found


@torch.no_grad()
def steps(model, ids: torch.Tensor) -> torch.Tensor:
    """Logits of every position, one token of each row at a time: [b, s, vocab]."""
    cache = model.make_cache()
    return torch.cat([model(ids[:, i : i + 1], cache=cache).logits for i in range(ids.shape[1])], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tokens_one_by_one_are_as_torch_computes_them(
    level, served, tiny_llama, dtype, monkeypatch
):
    model = load_model(tiny_llama).to(dtype)
    ids = torch.arange(24).view(2, 12) * 7 % 320
    ours = steps(model, ids)
    assert len(served) == 12, "the head's; the layers are one call"
    monkeypatch.setenv(library.VARIABLE, "off")
    theirs = steps(model, ids)
    assert len(served) == 12
    most = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}[dtype]
    assert (ours - theirs).norm() < most * theirs.norm()
