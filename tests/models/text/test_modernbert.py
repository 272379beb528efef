from __future__ import annotations

import pytest
import torch

from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

CONFIG = {
    "model_type": "modernbert",
    "vocab_size": 300,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.05,
    "pad_token_id": 0,
}


def fresh(task: str, **changes: float | None) -> dict[str, torch.Tensor]:
    return initialize(build(read_config(CONFIG | changes), task)).state_dict()


def test_new_weights_are_as_wide_as_theirs():
    """Their standard deviations, less what is cut off at two of them: 0.88."""
    weights = fresh("sequence-classification")
    into_residual = 0.05 / (2 * 2) ** 0.5
    for name, std in (
        ("model.embeddings.tok_embeddings.weight", 0.05),
        ("model.layers.1.attn.Wqkv.weight", 0.05),
        ("model.layers.1.attn.Wo.weight", into_residual),
        ("model.layers.1.mlp.Wi.weight", 0.05),
        ("model.layers.1.mlp.Wo.weight", into_residual),
        ("head.dense.weight", into_residual),
        ("classifier.weight", 128**-0.5),
    ):
        wide = 0.1 if weights[name].numel() < 1000 else 0.02
        assert weights[name].std().item() == pytest.approx(0.88 * std, rel=wide), name


@pytest.mark.parametrize(("factor", "limit"), [(1.0, 1.0), (2.0, 2.0), (None, 3.0)])
def test_new_weights_are_cut_off(factor, limit):
    weights = fresh("masked-lm", initializer_cutoff_factor=factor)
    largest = weights["model.layers.0.mlp.Wi.weight"].abs().max().item()
    assert 0.95 * limit * 0.05 < largest <= limit * 0.05


def test_the_first_block_has_no_norm_before_its_attention():
    names = fresh("masked-lm")
    assert "model.layers.0.attn_norm.weight" not in names
    assert "model.layers.1.attn_norm.weight" in names
    assert "model.layers.1.attn_norm.bias" not in names
