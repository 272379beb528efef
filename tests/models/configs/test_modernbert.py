"""Spellings of before transformers 5, and what is refused."""

from __future__ import annotations

import pytest
import transformers

from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.registry import read_config

OLD = {"model_type": "modernbert", "global_rope_theta": 5e3, "local_rope_theta": 100.0}


def test_older_spellings_mean_what_they_mean_to_transformers():
    old = OLD | {"num_hidden_layers": 4, "global_attn_every_n_layers": 2}
    config, theirs = read_config(old), transformers.ModernBertConfig(**old)
    assert config.rope_parameters == theirs.rope_parameters
    assert config.layer_types == theirs.layer_types
    assert [config.radius(layer) for layer in range(4)] == [None, 64, None, 64]


def test_a_scaling_holds_for_both_types_of_layers():
    old = OLD | {"rope_scaling": {"type": "linear", "factor": 2.0}}
    rope = read_config(old).rope_parameters
    assert rope["full_attention"] == {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e3}
    assert rope["sliding_attention"] == {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}


def test_older_readers_find_the_bases():
    written = read_config(OLD).to_dict()
    assert written["global_rope_theta"] == 5e3
    assert written["local_rope_theta"] == 100.0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sparse_prediction", True),
        ("classifier_pooling", "max"),
        ("layer_types", ["full_attention"]),
        ("layer_types", ["chunked_attention"] * 22),
        ("local_attention", 0),
        ("global_attn_every_n_layers", 0),
        ("hidden_activation", "gelu_nwe"),
        ("initializer_cutoff_factor", 0.0),
        ("num_attention_heads", 7),
    ],
)
def test_refusals_name_the_key(key, value):
    with pytest.raises(ModelError, match=key):
        read_config({"model_type": "modernbert", key: value})


def test_a_recipe_may_use_either_spelling():
    assert config_from_recipe(OLD).rope_parameters["full_attention"]["rope_theta"] == 5e3
