"""A model is spread over processes before it has memory, and each reads what it holds."""

from __future__ import annotations

import pytest
import torch

from tests.checkpoints.models import tokens
from tests.models.tiny import tiny_model
from tests.sharded.processes import in_two_processes
from tfcli.checkpoints.folder import save_model


@pytest.mark.parametrize(
    ("model_type", "in_rows"),
    [
        ("llama", True),
        ("gpt2", False),  # stored the other way: rows here are columns there
        ("gpt_oss", False),  # the experts of a layer are stored as one stack
    ],
)
def test_two_processes_load_a_fully_sharded_model(tmp_path, model_type, in_rows):
    model = tiny_model(model_type, "causal-lm")
    save_model(model, tmp_path / "model")
    ids = tokens() % model.config.vocab_size
    with torch.no_grad():
        torch.save((ids, model(ids).logits), tmp_path / "expected.pt")
    model(ids, labels=ids).loss.backward()
    norm = float(sum(parameter.grad.square().sum() for parameter in model.parameters()))
    found = in_two_processes("load_parts.py", tmp_path / "model", tmp_path / "expected.pt")
    whole = sum(parameter.nbytes for parameter in model.parameters())
    assert sum(each["held"] for each in found) == whole
    for each in found:
        assert each["difference"] < 1e-5
        assert each["held"] < 0.6 * whole
        assert each["gradients"]
        assert each["norm"] == pytest.approx(norm, rel=1e-3)
        if in_rows:
            assert each["read"] == each["held"]
