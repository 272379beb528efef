"""Keys as published checkpoints have them: read as transformers reads them."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from tests.models.test_parity import without_older_keys
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.registry import read_config

TINY = {"vocab_size": 61, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 8}
TINY |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": None}
FACTORS = {"short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.5, 2.5, 4.0, 6.0]}
# checkpoint -> transformers' class and the keys that differ from a plain decoder's
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "Mistral 7B v0.1": ("MistralConfig", {"rope_theta": 1e4, "sliding_window": 4096}),
    "Mistral Nemo": ("MistralConfig", {"rope_theta": 1e6, "sliding_window": None, "head_dim": 16}),
    "Qwen 2.5": (
        "Qwen2Config",
        {"sliding_window": 32768, "use_sliding_window": False, "max_window_layers": 5},
    ),
    "Qwen 2 with windows": (
        "Qwen2Config",
        {"sliding_window": 16, "use_sliding_window": True, "max_window_layers": 5},
    ),
    "Qwen 3": ("Qwen3Config", {"rope_theta": 1e6, "rope_scaling": None, "attention_bias": False}),
    "Gemma 2B": ("GemmaConfig", {"hidden_act": "gelu", "rope_theta": 1e4}),
    "Gemma 2": (
        "Gemma2Config",
        {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"},
    ),
    "Gemma 3 1B": (
        "Gemma3TextConfig",
        {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6},
    ),
    "Gemma 3 27B": (
        "Gemma3TextConfig",
        {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window_pattern": 3},
    ),
    "EmbeddingGemma": (
        "Gemma3TextConfig",
        {"use_bidirectional_attention": True, "sliding_window": 512, "rope_theta": 1e6},
    ),
    "Phi-3 128k": (
        "Phi3Config",
        {"rope_scaling": {"type": "longrope"} | FACTORS, "original_max_position_embeddings": 32},
    ),
    "an early Phi-3 128k": (
        "Phi3Config",
        {"rope_scaling": {"type": "yarn"} | FACTORS, "max_position_embeddings": 8192},
    ),
    "Phi-4 mini": (
        "Phi3Config",
        {
            "rope_scaling": {"type": "longrope"} | {k: v[:3] for k, v in FACTORS.items()},
            "original_max_position_embeddings": 32,
            "partial_rotary_factor": 0.75,
        },
    ),
    "SmolLM3": (
        "SmolLM3Config",
        {"rope_theta": 5e6, "no_rope_layer_interval": 4, "use_sliding_window": False},
    ),
    "SmolLM3 with windows": (
        "SmolLM3Config",
        {"no_rope_layer_interval": 3, "use_sliding_window": True, "sliding_window": 8},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_we_read_what_transformers_reads(name):
    config_class, keys = getattr(transformers, PUBLISHED[name][0]), PUBLISHED[name][1]
    raw = {"model_type": config_class.model_type, **TINY, **keys}
    ours = read_config(raw)
    assert without_use(config_class(**ours.to_dict())) == without_use(config_class(**raw))
    assert read_config(ours.to_dict()) == ours


def without_use(config: Any) -> dict[str, Any]:
    """Their config, without the key of Gemma 2's files that neither of us computes with."""
    unused = "hidden_act" if config.model_type == "gemma2" else ""
    return {k: v for k, v in without_older_keys(config.to_dict()).items() if k != unused}


def test_gemma_3_rotates_by_the_type_of_layer():
    old = read_config(
        {
            "model_type": "gemma3_text",
            "rope_theta": 5e5,
            "rope_local_base_freq": 3e3,
            "rope_scaling": {"type": "linear", "factor": 8.0},
        }
    )
    full = {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5}
    sliding = {"rope_type": "default", "rope_theta": 3e3}
    assert old.rope_parameters == {"sliding_attention": sliding, "full_attention": full}
    written = old.to_dict()
    assert (written["rope_theta"], written["rope_local_base_freq"]) == (5e5, 3e3)
    assert written["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


def test_phi_3_writes_what_transformers_4_takes():
    raw = {"model_type": "phi3", **TINY, **PUBLISHED["Phi-3 128k"][1]}
    assert read_config(raw).to_dict()["rope_scaling"] == {"type": "longrope"} | FACTORS
    raw["rope_scaling"] = raw["rope_scaling"] | {"factor": 4.0}
    assert read_config(raw).to_dict()["rope_scaling"]["factor"] == 4.0


def test_the_first_name_of_longrope():
    raw = {"model_type": "phi3", **TINY, **PUBLISHED["Phi-3 128k"][1]}
    named = read_config(raw)
    raw["rope_scaling"] = {"type": "su"} | FACTORS
    assert read_config(raw) == named
    assert named.rope_parameters["original_max_position_embeddings"] == 32


def test_null_heads_are_as_many_as_there_are():
    config = read_config(
        {"model_type": "mistral", **TINY, "num_key_value_heads": None, "head_dim": None}
    )
    assert (config.num_key_value_heads, config.head_dim) == (4, 8)


def test_gemma_takes_either_spelling_of_its_activation():
    for keys in ({"hidden_activation": "gelu"}, {"hidden_act": "gelu", "hidden_activation": None}):
        config = read_config({"model_type": "gemma", **keys})
        assert config.hidden_act == "gelu_pytorch_tanh"
        assert "hidden_activation" not in config.to_dict()


def test_windows_of_the_layers():
    qwen = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 6}
    config = read_config({"model_type": "qwen2", **TINY, **qwen})
    assert [config.window(layer) for layer in range(8)] == [None] * 6 + [16, 16]
    config = read_config({"model_type": "qwen2", **TINY, **qwen, "use_sliding_window": False})
    assert [config.window(layer) for layer in range(8)] == [None] * 8
    config = read_config({"model_type": "gemma2", **TINY, "sliding_window": 9})
    assert [config.window(layer) for layer in range(4)] == [9, None, 9, None]
    config = read_config({"model_type": "gemma3_text", **TINY, "sliding_window": 9})
    assert [config.window(layer) for layer in range(4, 8)] == [9, None, 9, 9]


REFUSED = {
    "mistral layer by layer": (
        "mistral",
        {"layer_types": ["sliding_attention", "full_attention"]},
        "layer_types",
    ),
    "window of nothing": ("mistral", {"sliding_window": 0}, "sliding_window"),
    "layer without a window": (
        "qwen2",
        {"layer_types": ["sliding_attention"] * 8},
        "use_sliding_window",
    ),
    "type of layer": (
        "qwen3",
        {"layer_types": ["full_atention"] * 8},
        "did you mean 'full_attention'",
    ),
    "too few layers": ("gemma2", {"layer_types": ["full_attention"]}, "1 entries for 8 layers"),
    "too many layers": ("qwen2", {"num_hidden_layers": 10**12}, "num_hidden_layers"),
    "both directions": ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional"),
    "cap of 0": ("gemma2", {"attn_logit_softcapping": 0.0}, "attn_logit_softcapping"),
    "cap that nobody computes": (
        "gemma3_text",
        {"attn_logit_softcapping": 50.0},
        "attn_logit_softcapping",
    ),
    "flat positions": (
        "gemma3_text",
        {"rope_parameters": {"rope_theta": 1e4}},
        "rope_parameters.rope_theta is no type of layer",
    ),
    "pattern of nothing": ("gemma3_text", {"sliding_window_pattern": 0}, "sliding_window_pattern"),
    "activations": (
        "gemma",
        {"hidden_act": "gelu", "hidden_activation": "silu"},
        "hidden_activation differ",
    ),
    "activation of the wrong type": ("gemma", {"hidden_act": ["gelu"]}, "must be str"),
    "scaling of the wrong type": ("qwen2", {"rope_scaling": {"rope_type": []}}, "rope_type []"),
    "embedding dropout": ("phi3", {"embd_pdrop": 0.1}, "embd_pdrop"),
    "stretched another way": (
        "phi3",
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        "default and longrope",
    ),
    "positions of some layers": ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers"),
    "positions every 0 layers": (
        "smollm3",
        {"no_rope_layer_interval": 0},
        "no_rope_layer_interval",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    model_type, keys, named = REFUSED[name]
    with pytest.raises(ModelError) as caught:
        read_config({"model_type": model_type, **TINY, **keys})
    assert named in f"{caught.value} {caught.value.where} {caught.value.fix}"


def test_a_recipe_may_use_every_spelling():
    config = config_from_recipe(
        {
            "model_type": "gemma3_text",
            **TINY,
            "hidden_activation": "silu",
            "sliding_window_pattern": 2,
            "rope_local_base_freq": 7.0,
        }
    )
    assert config.hidden_act == "silu"
    assert config.rope_parameters["sliding_attention"]["rope_theta"] == 7.0
    assert config.layer_types[:2] == ["sliding_attention", "full_attention"]
    config = config_from_recipe({"model_type": "phi3", **TINY, "partial_rotary_factor": 0.5})
    assert config.rope_parameters["partial_rotary_factor"] == 0.5
