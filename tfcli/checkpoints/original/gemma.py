"""Google's own PyTorch files of Gemma 1, 2 and 3 (text).

Queries, keys and values are one matrix, the embedding is also the output layer, and the rotary
angles are stored though they follow from the config. Norms are stored less 1, as Hugging Face has
them. The sizes stand in Google's code: the files bring no config.

Source: https://github.com/google/gemma_pytorch, `gemma/model.py` and `gemma/config.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.rules import Facts, Rule
from tfcli.checkpoints.dialect.steps import Split

_LAYER = "model.layers.{layer}."
_QKV = _LAYER + "self_attn.qkv_proj.weight"
_ANGLES = {r"(?:local_|global_)?freqs_cis": "rotary angles, computed from the config"}


def _facts(config: Mapping[str, Any]) -> Facts:
    from tfcli.models.registry import read_config

    parsed = read_config(config).text
    heads, groups = parsed.num_attention_heads, parsed.num_key_value_heads
    head_dim = parsed.head_dim
    sizes = {"heads": heads * head_dim, "kv": groups * head_dim}
    return Facts(sizes, {"layer": range(parsed.num_hidden_layers)})


def _layer(*leaves: str) -> tuple[Rule, ...]:
    """Tensors of a layer that have one name on both sides."""
    return tuple(Rule(_LAYER + leaf, _LAYER + leaf) for leaf in leaves)


_COMMON = (
    Rule("embedder.weight", "model.embed_tokens.weight"),
    Rule(
        _QKV,
        tuple(f"{_LAYER}self_attn.{part}_proj.weight" for part in "qkv"),
        (Split(0, ("heads", "kv", "kv")),),
    ),
    *_layer(
        "self_attn.o_proj.weight",
        "mlp.gate_proj.weight",
        "mlp.up_proj.weight",
        "mlp.down_proj.weight",
        "input_layernorm.weight",
        "post_attention_layernorm.weight",
    ),
    Rule("model.norm.weight", "model.norm.weight"),
)
_NORMS = _layer("pre_feedforward_layernorm.weight", "post_feedforward_layernorm.weight")
_FUSED = ("embedder.weight", "model.layers.0.self_attn.qkv_proj.weight")
_SANDWICHED = (*_FUSED, "model.layers.0.pre_feedforward_layernorm.weight")

GEMMA = Dialect("gemma", _FUSED, _COMMON, _facts, _ANGLES)
GEMMA2 = Dialect("gemma2", _SANDWICHED, (*_COMMON, *_NORMS), _facts, _ANGLES)
GEMMA3_TEXT = Dialect(
    "gemma3_text",
    (*_SANDWICHED, "model.layers.0.self_attn.query_norm.weight"),
    (
        *_COMMON,
        *_NORMS,
        Rule(_LAYER + "self_attn.query_norm.weight", _LAYER + "self_attn.q_norm.weight"),
        Rule(_LAYER + "self_attn.key_norm.weight", _LAYER + "self_attn.k_norm.weight"),
    ),
    _facts,
    _ANGLES,
)
