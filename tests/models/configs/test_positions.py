"""Which layers have a window and positions, and which positions, as a config spells it."""

from __future__ import annotations

import pytest

from tests.models.tiny import settings, whole
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.layers.alibi import slopes
from tfcli.models.registry import read_config

SLIDING, FULL = "sliding_attention", "full_attention"
THETA = {"rope_theta": 1e5}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 0.5}


def config(model_type, **changes):
    content = whole(model_type, settings(model_type) | changes)
    return config_from_recipe({"model_type": model_type, **content})


def test_older_files_give_a_pattern_in_place_of_the_types_of_layers():
    old = {"num_hidden_layers": 5, "sliding_window_pattern": 2}
    every_second = [SLIDING, FULL, SLIDING, FULL, SLIDING]
    assert config("cohere2", **old).layer_types == every_second
    assert config("exaone4", **old).layer_types == every_second
    spelt = config("exaone4", num_hidden_layers=5, sliding_window_pattern="LG")
    assert spelt.layer_types == every_second
    assert spelt.to_dict()["sliding_window_pattern"] == "LG"
    assert config("olmo3", num_hidden_layers=5).layer_types == [SLIDING] * 3 + [FULL, SLIDING]


def test_layers_without_a_window_have_no_positions_where_others_have_one():
    for family in ("cohere2", "exaone4"):
        made = config(family, num_hidden_layers=4, sliding_window_pattern=2)
        assert [made.rotates(layer) for layer in range(4)] == [True, False, True, False]
    whole = config("exaone4", num_hidden_layers=2, sliding_window=None)
    assert whole.layer_types == [FULL, FULL] and whole.rotates(1)


def test_llama4s_layers_with_positions_see_stretches():
    made = config("llama4_text", no_rope_layers=[])  # as released files have it: the default
    assert made.no_rope_layers == [1, 0, 1, 0]
    assert made.layer_types == ["chunked_attention", FULL] * 2
    assert [made.window(layer) for layer in range(4)] == [5, None, 5, None]


def test_older_files_of_olmo3_stretch_the_layers_that_see_all_keys():
    yarn = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192}
    older = {"model_type": "olmo3", "rope_theta": 1e5, "rope_scaling": yarn}
    rope = read_config(older).rope_parameters
    assert rope == {FULL: yarn | THETA, SLIDING: {"rope_type": "default"} | THETA}
    written = read_config(older).to_dict()
    assert written["rope_theta"] == 1e5 and written["rope_scaling"] == yarn
    assert read_config(written).rope_parameters == rope


def test_hunyuans_alpha_stretches_the_base_whatever_the_length():
    rope = {"type": "dynamic", "alpha": 1000.0, "factor": 1.0, "mscale": 1.0}
    made = read_config({"model_type": "hunyuan_v1_dense", "head_dim": 128, "rope_scaling": rope})
    assert made.rotation["rope_type"] == "default"
    assert made.rotation["rope_theta"] == pytest.approx(10000.0 * 1000.0 ** (128 / 126))
    assert made.to_dict()["rope_scaling"]["alpha"] == 1000.0
    plain = read_config({"model_type": "hunyuan_v1_dense", "rope_scaling": rope | {"alpha": None}})
    assert plain.rotation["rope_type"] == "dynamic"


def test_mpts_steepest_slope_is_the_configs():
    attention = {"alibi_bias_max": 16}
    made = read_config({"model_type": "mpt", "n_heads": 8, "attn_config": attention})
    assert slopes(8, made.steepest).tolist() == [2.0**-i for i in range(2, 17, 2)]
    assert read_config({"model_type": "mpt"}).steepest == 8


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("cohere2", {"use_qk_norm": True}, "use_qk_norm=True is not supported for cohere2"),
        ("cohere2", {"sliding_window_pattern": 0}, "sliding_window_pattern must be at least 1"),
        ("cohere2", {"sliding_window": None}, "there is no window: see sliding_window"),
        ("exaone4", {"sliding_window_pattern": "LX"}, "it must have L and G only"),
        ("exaone4", {"sliding_window_pattern": ""}, "it must have L and G only"),
        ("hunyuan_v1_dense", {"rope_scaling": {"type": "dynamic", "factor": 1, "alpha": "a"}}, "a"),
        ("hunyuan_v1_dense", {"use_cla": True}, "use_cla=True is not supported"),
        ("ernie4_5", {"attention_dropout": 0.1}, "attention_dropout=0.1 is not supported"),
        ("bitnet", {"head_dim": 16}, "head_dim times num_attention_heads is 64"),
        ("llama4_text", {"rope_scaling": _LLAMA3}, "high_freq_factor is below low_freq_factor"),
        ("phi", {"embd_pdrop": 1.0}, "embd_pdrop must be in"),
        ("mpt", {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln is True; supported: False"),
        ("mpt", {"attn_config": {"alibi": False}}, "attn_config.alibi is False"),
        ("mpt", {"attn_config": {"clip_qkv": "8"}}, "attn_config.clip_qkv must be a number"),
        ("mpt", {"expansion_ratio": 2}, "expansion_ratio=2 is not supported for mpt"),
    ],
)
def test_what_cannot_be_is_refused_by_key(model_type, changes, message):
    with pytest.raises(ModelError, match=message):
        read_config({"model_type": model_type, **settings(model_type), **changes})
