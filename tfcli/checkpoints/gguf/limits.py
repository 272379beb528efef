"""What a config may say that llama.cpp computes in another way, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfcli.checkpoints.gguf.positions import rope_of
from tfcli.errors import WorkError

_TANH = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
_SILU = ("silu", "swish")
_ACTIVATIONS = {
    "gpt2": _TANH,
    "starcoder2": (*_TANH, "gelu"),
    "gpt_neox": (*_TANH, "gelu"),
    "bert": (*_TANH, "gelu"),
    "gemma": _TANH,
    "gemma2": _TANH,
    "gemma3_text": _TANH,
}
# Layers at which llama.cpp takes a file for the 27B model, whose scores have another scale.
LAYERS_27B = {"gemma2": 46, "gemma3_text": 62}
PATTERNS = {"gemma2": 2, "gemma3_text": 6}
"""Families whose layers have a window but each n-th."""
_BETAS = {"beta_fast": 32, "beta_slow": 1}  # its `llama` and others do not read the keys
_NO_WINDOWS = ("mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "phi3", "starcoder2")


def _activation(config: Any) -> str | None:
    name = getattr(config, "hidden_act", None) or getattr(config, "activation_function", "")
    allowed = _ACTIVATIONS.get(config.model_type, _SILU)
    return None if name in allowed else f"the activation {name}; it has {allowed[0]}"


def _rope(config: Any) -> str | None:
    rope = rope_of(config)
    kind = "default" if rope is None else rope["rope_type"]
    if kind == "dynamic":
        return "rope_type dynamic"
    if kind == "longrope" and config.model_type != "phi3":
        return "rope_type longrope in other models than phi3"
    if kind == "llama3" and config.model_type not in ("llama", "mistral", "mixtral"):
        return f"rope_type llama3 in {config.model_type}"
    if kind == "yarn" and rope is not None:
        if rope.get("truncate") is False:
            return "truncate=false of rope_type yarn"
        for key, only in _BETAS.items():
            if rope.get(key) not in (None, only):
                return f"{key}={rope[key]} of rope_type yarn; it computes with {only}"
    return None


def _own(config: Any) -> str | None:
    kind = config.model_type
    if kind == "gpt2" and not config.scale_attn_weights:
        return "scale_attn_weights=false"
    if kind == "gpt2" and config.scale_attn_by_inverse_layer_idx:
        return "scale_attn_by_inverse_layer_idx"
    if kind == "gpt_neox" and not config.attention_bias:
        return "attention_bias=false"
    if kind == "starcoder2" and not config.use_bias:
        return "use_bias=false"
    if kind == "qwen3_moe":
        if not config.norm_topk_prob:
            return "norm_topk_prob=false"
        if not all(config.sparse(layer) for layer in range(config.num_hidden_layers)):
            return "layers without experts (mlp_only_layers, decoder_sparse_step)"
    if kind == "gemma3_text" and config.bidirectional:
        return "use_bidirectional_attention"
    if kind in LAYERS_27B:
        return _gemma(config)
    return None


def _gemma(config: Any) -> str | None:
    large = config.num_hidden_layers == LAYERS_27B[config.model_type]
    heads = config.num_attention_heads
    expected = config.hidden_size // heads if large else config.head_dim
    if config.query_pre_attn_scalar != expected:
        return f"query_pre_attn_scalar={config.query_pre_attn_scalar}; it has {expected}"
    for field in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.model_type == "gemma2" and getattr(config, field) is None:
            return f"{field}=null; it always caps"
    step = PATTERNS[config.model_type]
    for layer in range(config.num_hidden_layers):
        slides = (layer + 1) % step != 0
        if (config.kind(layer) == "sliding_attention") != slides:
            return f"layer_types; every layer but each {step}th has a window there"
    return None


_CHECKS: tuple[Callable[[Any], str | None], ...] = (_activation, _rope, _own)


def require_suitable(config: Any, where: str) -> None:
    """Refuse a config for which llama.cpp would compute another model.

    Raises:
        WorkError: names what it lacks.
    """
    for check in _CHECKS:
        lacks = check(config)
        if lacks is not None:
            raise WorkError(
                f"llama.cpp's {config.model_type} has no {lacks}",
                where=where,
                fix="the model would answer differently there; keep another format",
            )


def notes(config: Any) -> list[str]:
    """Where llama.cpp differs for some inputs only, to be told to the user."""
    found = []
    layers = range(config.num_hidden_layers)
    windows = {config.window(layer) for layer in layers} - {None}
    if windows and config.model_type in _NO_WINDOWS:
        width = min(windows)
        if width < config.max_position_embeddings:
            found.append(
                f"llama.cpp ignores the attention window of {width} tokens: "
                "longer texts get other answers"
            )
    rope = rope_of(config)
    if rope is not None and rope["rope_type"] == "longrope":
        length = rope["original_max_position_embeddings"]
        found.append(
            f"llama.cpp takes the factors for long texts where its context (-c) exceeds {length} "
            "tokens, whatever the text's length"
        )
    return found
