"""Decoders of Llama's shape."""

from __future__ import annotations

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
