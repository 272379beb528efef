"""Configs of hybrids: what holds where config.json does not say, and how older files spell it."""

from __future__ import annotations

import json

import pytest
import transformers

from tests.models.cases.hybrids import CASES
from tfcli.models.errors import ModelError
from tfcli.models.registry import read_config


@pytest.mark.parametrize("name", sorted({case.config for case in CASES}))
def test_what_is_not_said_is_transformers_default(name):
    kind = getattr(transformers, name)
    theirs = json.loads(kind().to_json_string(use_diff=False))
    ours = read_config({"model_type": kind.model_type}).to_dict()
    shared = ours.keys() & theirs.keys()
    assert len(shared) > 20
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}


def test_older_files_spell_layers_otherwise():
    read = read_config(
        {
            "model_type": "granitemoehybrid",
            "num_hidden_layers": 2,
            "layers_block_type": ["mamba", "attention"],
        }
    )
    assert read.to_dict()["layer_types"] == ["linear_attention", "full_attention"]
    assert read.text.cached_layers == 1
    older = {"block_ff_dim": 96, "tie_embedding": False, "full_attn_idxs": [1]}
    lfm2 = read_config({"model_type": "lfm2", "num_hidden_layers": 2, **older}).to_dict()
    assert lfm2["intermediate_size"] == 96 and lfm2["tie_word_embeddings"] is False
    assert lfm2["layer_types"] == ["conv", "full_attention"]


def test_a_kind_of_layer_that_there_is_not_is_named():
    with pytest.raises(ModelError, match="'conv', which qwen3_next does not have"):
        read_config({"model_type": "qwen3_next", "num_hidden_layers": 1, "layer_types": ["conv"]})
