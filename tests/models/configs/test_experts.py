"""Configs of mixtures of experts: spellings, and numbers that cannot be."""

from __future__ import annotations

import pytest

from tests.models.cases.mixtures import CASES
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.registry import read_config

FAMILIES = (
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "olmoe",
    "deepseek_v3",
    "gpt_oss",
    "deepseek_v2",
    "glm4_moe",
    "ernie4_5_moe",
    "granitemoe",
    "granitemoeshared",
    "llama4_text",
)
FIRST = {
    family: next(case.settings for case in CASES if case.name.startswith(f"{family}-"))
    for family in FAMILIES
}


def config(model_type, **changes):
    return config_from_recipe({"model_type": model_type, **FIRST[model_type], **changes})


@pytest.mark.parametrize("model_type", FAMILIES)
def test_defaults_are_those_of_a_released_model(model_type):
    defaults = read_config({"model_type": model_type})
    assert 1 < defaults.num_experts_per_tok + 1 < defaults.num_experts
    assert read_config(defaults.to_dict()) == defaults


@pytest.mark.parametrize("spelling", ["num_experts", "num_local_experts"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_both_spellings_of_the_number_of_experts_are_read(model_type, spelling):
    assert read_config({"model_type": model_type, spelling: 32}).num_experts == 32


def test_spellings_that_contradict_each_other_are_refused():
    data = {"model_type": "qwen3_moe", "num_experts": 8, "num_local_experts": 16}
    with pytest.raises(ModelError, match="num_local_experts is 16"):
        read_config(data)


def test_qwen3_moe_writes_both_spellings():
    written = config("qwen3_moe").to_dict()
    assert written["num_experts"] == written["num_local_experts"] == 4


def test_layers_with_experts():
    steps = config("qwen2_moe", num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3])
    assert [steps.sparse(layer) for layer in range(4)] == [False, True, False, False]
    first = config("deepseek_v3", num_hidden_layers=4, first_k_dense_replace=3)
    assert [first.sparse(layer) for layer in range(4)] == [False, False, False, True]
    bounds = {"moe_layer_start_index": 1, "moe_layer_end_index": 4, "moe_layer_interval": 2}
    within = config("ernie4_5_moe", num_hidden_layers=6, **bounds)
    assert [within.sparse(layer) for layer in range(6)] == [False, True, False, True, False, False]
    assert config("ernie4_5_moe", num_hidden_layers=6).moe_layer_end_index == 5
    assert config("llama4_text", interleave_moe_layer_step=3).moe_layers == [2]
    assert config("llama4_text", moe_layers=[0, 3]).sparse(3)


def test_windows_of_layers():
    slides = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 3}
    every_other = config("qwen2_moe", num_hidden_layers=5, **slides)
    assert [every_other.window(layer) for layer in range(5)] == [5, None, 5, None, None]
    off = config("qwen2_moe", use_sliding_window=False, sliding_window=5)
    assert off.window(0) is None
    assert config("gpt_oss").window(0) == 5 and config("gpt_oss").window(1) is None
    assert config("qwen3_moe", sliding_window=5).window(0) is None
    assert config("qwen3_moe", sliding_window=5, use_sliding_window=True).window(0) == 5


def test_yarn_takes_part_in_deepseeks_scale():
    plain = config("deepseek_v3").attention_scale
    assert plain == pytest.approx(10**-0.5)
    rope = {"rope_type": "yarn", "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 1.0}
    stretched = config("deepseek_v3", rope_parameters=rope).attention_scale
    assert stretched == pytest.approx(plain * 1.3688879454**2)


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("mixtral", {"num_experts_per_tok": 5}, "num_experts_per_tok is 5, but there are 4"),
        ("mixtral", {"num_experts_per_tok": 0}, "num_experts_per_tok is 0"),
        ("mixtral", {"num_local_experts": 0}, "num_local_experts must be at least 1"),
        ("mixtral", {"num_local_experts": 10**9}, "more than 50,000 experts in all"),
        ("mixtral", {"router_jitter_noise": 1.5}, "router_jitter_noise must be in"),
        ("mixtral", {"sliding_window": 0}, "sliding_window must be at least 1"),
        ("mixtral", {"router_aux_loss_coef": -1.0}, "router_aux_loss_coef is negative"),
        ("qwen2_moe", {"decoder_sparse_step": 0}, "decoder_sparse_step must be at least 1"),
        ("qwen2_moe", {"mlp_only_layers": ["a"]}, "an entry of mlp_only_layers must be int"),
        ("qwen2_moe", {"shared_expert_intermediate_size": 0}, "shared_expert_intermediate_size"),
        ("qwen2_moe", {"layer_types": ["full_attention"]}, "layer_types has 1 entries"),
        ("qwen3_moe", {"moe_intermediate_size": -3}, "moe_intermediate_size must be at least 1"),
        ("olmoe", {"head_dim": 16}, "head_dim is 16"),
        ("olmoe", {"clip_qkv": 0.0}, "clip_qkv must be above 0"),
        ("deepseek_v3", {"num_key_value_heads": 2}, "num_key_value_heads must be num_attention"),
        ("deepseek_v3", {"n_group": 3}, "n_routed_experts .8. is not a multiple of n_group"),
        ("deepseek_v3", {"n_group": 8}, "n_group leaves 1 expert a group"),
        ("deepseek_v3", {"topk_group": 5}, "topk_group is 5, but there are 4 groups"),
        ("deepseek_v3", {"topk_group": 1, "num_experts_per_tok": 3}, "more than topk_group groups"),
        ("deepseek_v3", {"kv_lora_rank": 0}, "kv_lora_rank must be at least 1"),
        ("deepseek_v3", {"qk_rope_head_dim": 3}, "of which 3 are rotated"),
        ("deepseek_v2", {"topk_method": "noaux_tc"}, "topk_method is 'noaux_tc'; supported"),
        ("deepseek_v2", {"n_group": 3}, "n_routed_experts .8. is not a multiple of n_group"),
        ("deepseek_v2", {"norm_topk_prob": True}, "norm_topk_prob=True is not supported"),
        ("glm4_moe", {"n_shared_experts": 0}, "n_shared_experts must be at least 1"),
        ("ernie4_5_moe", {"moe_layer_interval": 0}, "moe_layer_interval must be at least 1"),
        ("ernie4_5_moe", {"moe_norm_min": 0.0}, "moe_norm_min must be above 0"),
        ("granitemoe", {"logits_scaling": 0}, "logits_scaling divides the logits"),
        ("granitemoeshared", {"shared_intermediate_size": -1}, "shared_intermediate_size is neg"),
        ("llama4_text", {"moe_layers": [4]}, "moe_layers must have numbers of layers, 0 to 3"),
        ("llama4_text", {"interleave_moe_layer_step": 0}, "interleave_moe_layer_step must be at"),
        ("llama4_text", {"attention_chunk_size": None}, "there is no window: see attention_chunk"),
        ("llama4_text", {"layer_types": ["sliding_attention"] * 4}, "which llama4_text does not"),
        ("gpt_oss", {"swiglu_limit": 0.0}, "swiglu_limit must be above 0"),
        ("gpt_oss", {"hidden_act": "gelu"}, "hidden_act='gelu' is not supported for gpt_oss"),
    ],
)
def test_what_cannot_be_is_refused_by_key(model_type, changes, message):
    with pytest.raises(ModelError, match=message):
        config(model_type, **changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [("scoring_func", "softmax"), ("topk_method", "greedy"), ("moe_layer_freq", 2)],
)
def test_deepseeks_other_ways_to_route_are_refused_by_name(key, value):
    with pytest.raises(ModelError, match=f"{key}=.* is not supported for deepseek_v3"):
        read_config({"model_type": "deepseek_v3", key: value})
