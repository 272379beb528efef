from __future__ import annotations

import pytest
import torch

from tests.models.test_loading import TINY, config
from tfcli.models.loading import build, initialize


@pytest.mark.parametrize("model_type", TINY)
def test_equal_seeds_give_equal_weights(model_type):
    first, again, other = (
        initialize(build(config(model_type)), seed).state_dict() for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_values_follow_from_the_name_not_from_the_order():
    shallow = initialize(build(config("llama", num_hidden_layers=1)), 5).state_dict()
    deep = initialize(build(config("llama", num_hidden_layers=2)), 5).state_dict()
    assert all(torch.equal(shallow[name], deep[name]) for name in shallow)


def test_scales_are_those_of_the_family():
    wide = {"n_embd": 256, "n_layer": 2, "initializer_range": 0.05}
    weights = initialize(build(config("gpt2", **wide)), 0).state_dict()
    assert weights["transformer.h.0.attn.c_attn.weight"].std().item() == pytest.approx(
        0.05, rel=0.02
    )
    # Two residual additions a layer: 0.05 / sqrt(2 * 2).
    assert weights["transformer.h.0.mlp.c_proj.weight"].std().item() == pytest.approx(
        0.025, rel=0.02
    )
    assert (weights["transformer.ln_f.weight"] == 1).all()
    assert (weights["transformer.ln_f.bias"] == 0).all()
    assert (weights["transformer.h.0.mlp.c_fc.bias"] == 0).all()


def test_the_padding_row_is_zero_and_dtype_is_kept():
    model = initialize(build(config("bert")), 0, dtype=torch.bfloat16)
    assert (model.bert.embeddings.word_embeddings.weight[0] == 0).all()
    assert model.dtype == torch.bfloat16
    assert model.cls["predictions"].decoder.weight is model.bert.embeddings.word_embeddings.weight
