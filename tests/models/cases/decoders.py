"""Decoders of Llama's shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.models.case import DECODER_TASKS, Case


def _llama(
    name: str,
    length: int = 17,
    steady: bool = True,
    tasks: tuple[str, ...] = ("causal-lm",),
    **changes: Any,
) -> Case:
    settings = {
        "vocab_size": 61,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "initializer_range": 0.2,
        "pad_token_id": None,
    }
    return Case(f"llama-{name}", "LlamaConfig", settings | changes, tasks, length, steady)


def _rope(name: str, steady: bool = True, **rope: Any) -> Case:
    """Llama with stretched positions, on an input of 24 tokens for a trained length of 8."""
    long = {"max_position_embeddings": 32 if name != "dynamic" else 8}
    return _llama(f"rope-{name}", 24, steady, rope_parameters={"rope_theta": 5e3} | rope, **long)


_SHORT = [1.0, 1.1, 1.3, 1.6]
_LONG = [1.5, 2.5, 4.0, 6.0]
CASES = [
    _llama("grouped", tasks=DECODER_TASKS),
    _llama("one-kv-head", num_key_value_heads=1),
    _llama("all-heads", num_key_value_heads=4),
    _llama("tied", tie_word_embeddings=True),
    _llama("biases", attention_bias=True, mlp_bias=True),
    _llama("wide-heads", head_dim=16, rms_norm_eps=1e-5, hidden_act="gelu_pytorch_tanh"),
    _llama("pad-token", pad_token_id=3),
    _rope("linear", rope_type="linear", factor=4.0),
    _rope("dynamic", steady=False, rope_type="dynamic", factor=2.0),
    _rope("yarn", rope_type="yarn", factor=4.0, original_max_position_embeddings=8),
    _rope(
        "yarn-mscale",
        rope_type="yarn",
        factor=4.0,
        original_max_position_embeddings=8,
        mscale=0.8,
        mscale_all_dim=0.5,
        beta_fast=8.0,
        beta_slow=0.5,
        truncate=False,
    ),
    _rope(
        "yarn-attention-factor",
        rope_type="yarn",
        factor=4.0,
        original_max_position_embeddings=8,
        attention_factor=1.7,
    ),
    _rope(
        "longrope",
        steady=False,
        rope_type="longrope",
        short_factor=_SHORT,
        long_factor=_LONG,
        original_max_position_embeddings=8,
    ),
    _rope(
        "longrope-factor",
        steady=False,
        rope_type="longrope",
        short_factor=_SHORT,
        long_factor=_LONG,
        factor=8.0,
        original_max_position_embeddings=8,
    ),
    _rope(
        "llama3",
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8,
    ),
]


def _like(config: str, name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    """Another family's config at Llama's tiny sizes."""
    return replace(_llama("", tasks=tasks, **changes), name=name, config=config)


_NO_SPANS = tuple(task for task in DECODER_TASKS if task != "question-answering")
CASES += [
    _like("StableLmConfig", "stablelm", _NO_SPANS, hidden_size=64),
    _like(
        "StableLmConfig",
        "stablelm-norms",
        use_qkv_bias=True,
        qk_layernorm=True,
        partial_rotary_factor=0.5,
        hidden_dropout=0.3,
        attention_dropout=0.2,
        tie_word_embeddings=True,
    ),
    _like(
        "StableLmConfig",
        "stablelm-parallel",
        use_parallel_residual=True,
        hidden_dropout=0.3,
        partial_rotary_factor=1.0,
        rope_theta=500.0,
    ),
    _like("CohereConfig", "cohere", ("causal-lm", "embedding")),
    _like(
        "CohereConfig",
        "cohere-norms",
        use_qk_norm=True,
        attention_bias=True,
        logit_scale=0.5,
        tie_word_embeddings=False,
        pad_token_id=3,
    ),
    _like("CohereConfig", "cohere-wide", head_dim=16, layer_norm_eps=1e-3),
    _like(
        "Olmo2Config",
        "olmo2",
        ("causal-lm", "sequence-classification", "embedding"),
        hidden_size=48,
    ),
    _like("Olmo2Config", "olmo2-biases", attention_bias=True, rms_norm_eps=1e-3, head_dim=16),
    _like("Glm4Config", "glm4", _NO_SPANS, head_dim=8),
    _like(
        "Glm4Config",
        "glm4-plain",
        head_dim=16,
        attention_bias=False,
        partial_rotary_factor=1.0,
        tie_word_embeddings=True,
    ),
    _like(
        "GraniteConfig",
        "granite",
        ("causal-lm", "embedding"),
        embedding_multiplier=3.0,
        attention_multiplier=0.2,
        residual_multiplier=0.4,
        logits_scaling=1.7,
    ),
    _like(
        "GraniteConfig",
        "granite-biases",
        attention_bias=True,
        mlp_bias=True,
        head_dim=16,
        tie_word_embeddings=True,
    ),
    _like("Starcoder2Config", "starcoder2", _NO_SPANS, residual_dropout=0.2, embedding_dropout=0.1),
    _like(
        "Starcoder2Config",
        "starcoder2-window",
        sliding_window=6,
        use_bias=False,
        tie_word_embeddings=False,
        norm_epsilon=1e-3,
    ),
]

_SLIDING, _FULL = "sliding_attention", "full_attention"
_QWEN_WINDOWS = {
    "use_sliding_window": True,
    "sliding_window": 6,
    "max_window_layers": 1,
    "num_hidden_layers": 3,
}
_GEMMA2 = {
    "num_hidden_layers": 3,
    "head_dim": 16,
    "sliding_window": 6,
    "query_pre_attn_scalar": 20,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 3.0,
}
_GEMMA3 = {
    "num_hidden_layers": 4,
    "head_dim": 16,
    "sliding_window": 6,
    "sliding_window_pattern": 2,
    "query_pre_attn_scalar": 20,
    "rope_parameters": {
        _SLIDING: {"rope_type": "default", "rope_theta": 20.0},
        _FULL: {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e3},
    },
}


def _phi3_long(name: str, pairs: int, **changes: Any) -> Case:
    """Phi-3 past its trained length of 8."""
    rope = {"rope_type": "longrope", "short_factor": _SHORT[:pairs], "long_factor": _LONG[:pairs]}
    settings = {"rope_parameters": rope, "original_max_position_embeddings": 8} | changes
    return replace(_like("Phi3Config", name, **settings), length=24, steady=False)


CASES += [
    _like("MistralConfig", "mistral", DECODER_TASKS, sliding_window=6),
    _like("MistralConfig", "mistral-whole", sliding_window=None, head_dim=16, hidden_act="gelu"),
    _like("Qwen2Config", "qwen2", DECODER_TASKS, **_QWEN_WINDOWS),
    _like("Qwen2Config", "qwen2-whole", tie_word_embeddings=True, pad_token_id=3),
    _like(
        "Qwen2Config",
        "qwen2-layer-types",
        **_QWEN_WINDOWS | {"layer_types": [_SLIDING, _FULL, _SLIDING]},
    ),
    _like("Qwen3Config", "qwen3", DECODER_TASKS, head_dim=16, rms_norm_eps=1e-3),
    _like("Qwen3Config", "qwen3-windows", head_dim=8, attention_bias=True, **_QWEN_WINDOWS),
    _like("GemmaConfig", "gemma", _NO_SPANS, head_dim=16, pad_token_id=0),
    _like(
        "GemmaConfig",
        "gemma-biases",
        head_dim=8,
        attention_bias=True,
        tie_word_embeddings=False,
        hidden_act="gelu",  # is read as its tanh form
    ),
    replace(
        _like("Gemma2Config", "gemma2", _NO_SPANS, **_GEMMA2),
        attention="eager",
        refuses=("flash",),
    ),
    replace(
        _like(
            "Gemma2Config",
            "gemma2-uncapped",
            **_GEMMA2
            | {
                "attn_logit_softcapping": None,
                "final_logit_softcapping": None,
                "layer_types": [_FULL, _SLIDING, _SLIDING],
                "attention_bias": True,
                "hidden_activation": "silu",
            },
        ),
        attention="eager",
    ),
    _like(
        "Gemma3TextConfig",
        "gemma3",
        ("causal-lm", "sequence-classification", "embedding"),
        **_GEMMA3,
    ),
    _like(
        "Gemma3TextConfig",
        "gemma3-layer-types",
        **_GEMMA3
        | {
            "layer_types": [_FULL, _FULL, _SLIDING, _SLIDING],
            "final_logit_softcapping": 3.0,
            "attention_bias": True,
            "tie_word_embeddings": False,
        },
    ),
    _like(
        "Gemma3TextConfig",
        "gemma3-both-ways",
        ("sequence-classification", "embedding"),
        **_GEMMA3 | {"use_bidirectional_attention": True},
    ),
    _like("Phi3Config", "phi3", _NO_SPANS, sliding_window=6),
    _like(
        "Phi3Config", "phi3-partial", partial_rotary_factor=0.5, resid_pdrop=0.2, rope_theta=50.0
    ),
    _phi3_long("phi3-long", 4),
    _phi3_long("phi3-long-partial", 2, partial_rotary_factor=0.5),
    _like("SmolLM3Config", "smollm3", DECODER_TASKS, num_hidden_layers=3, no_rope_layer_interval=2),
    _like(
        "SmolLM3Config",
        "smollm3-windows",
        num_hidden_layers=3,
        no_rope_layers=[0, 1, 0],
        use_sliding_window=True,
        sliding_window=6,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=False,
    ),
]

_TEXTS = ("causal-lm", "sequence-classification", "embedding")
_WINDOWS = {"num_hidden_layers": 3, "sliding_window": 6}
_LAYER_TYPES = {"layer_types": [_SLIDING, _FULL, _SLIDING]}
CASES += [
    _like(
        "Cohere2Config",
        "cohere2",
        ("causal-lm", "embedding"),
        **_WINDOWS,
        sliding_window_pattern=2,
        logit_scale=0.5,
    ),
    _like(
        "Cohere2Config",
        "cohere2-layer-types",
        **_WINDOWS,
        **_LAYER_TYPES,
        attention_bias=True,
        tie_word_embeddings=False,
    ),
    _like("Olmo3Config", "olmo3", _TEXTS, num_hidden_layers=4, sliding_window=6),
    _like(
        "Olmo3Config",
        "olmo3-stretched",
        **_WINDOWS,
        **_LAYER_TYPES,
        attention_bias=True,
        rope_parameters={
            _SLIDING: {"rope_type": "default", "rope_theta": 20.0},
            _FULL: {
                "rope_type": "yarn",
                "rope_theta": 5e3,
                "factor": 4.0,
                "original_max_position_embeddings": 8,
            },
        },
    ),
    _like("PhiConfig", "phi", _NO_SPANS, hidden_size=64, resid_pdrop=0.2, embd_pdrop=0.1),
    _like("PhiConfig", "phi-norms", qk_layernorm=True, partial_rotary_factor=1.0),
    _like("NemotronConfig", "nemotron", DECODER_TASKS, hidden_size=64),
    _like(
        "NemotronConfig",
        "nemotron-biases",
        head_dim=16,
        attention_bias=True,
        mlp_bias=True,
        norm_eps=1e-3,
        tie_word_embeddings=True,
    ),
    _like("Exaone4Config", "exaone4", DECODER_TASKS, **_WINDOWS, sliding_window_pattern=2),
    _like(
        "Exaone4Config",
        "exaone4-whole",
        sliding_window=None,
        layer_types=[_FULL] * 2,
        head_dim=16,
        tie_word_embeddings=True,
    ),
    _like("Ernie4_5Config", "ernie4_5", ("causal-lm", "embedding"), head_dim=16),
    _like("Ernie4_5Config", "ernie4_5-biases", head_dim=8, use_bias=True),
    _like("HunYuanDenseV1Config", "hunyuan_v1_dense", _TEXTS, head_dim=8),
    _like(
        "HunYuanDenseV1Config",
        "hunyuan_v1_dense-alpha",
        head_dim=16,
        attention_bias=True,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 50.0, "alpha": 30.0, "factor": 1.0},
    ),
    _like("BitNetConfig", "bitnet", ("causal-lm", "embedding")),
    _like("BitNetConfig", "bitnet-biases", attention_bias=True, tie_word_embeddings=True),
]
