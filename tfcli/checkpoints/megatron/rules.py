"""Megatron-LM's names and layouts beside Hugging Face's, for GPT-2 and Llama.

The names are those of Megatron Core with Transformer Engine, Megatron's default since 2024. Those
of its own layers (`--transformer-impl local`) and of the models before Megatron Core are other
spellings of the same.

Source: https://github.com/NVIDIA/Megatron-LM, `tools/checkpoint` (`schema_core.py`; until 2025 also
`loader_legacy.py`) and `megatron/core/models/gpt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.rules import Cut, Facts, Rule
from tfcli.checkpoints.dialect.steps import Fuse, Permute, Split, Step, Trim
from tfcli.checkpoints.megatron.args import padded_rows

_IN_LAYER = r"^(decoder\.layers\.\d+\.)"
_SPELLINGS = (
    (r"^(?:model\.)?(?:language_model\.)?", ""),
    (r"^(?:transformer|encoder)\.", "decoder."),
    (r"^decoder\.final_norm\.", "decoder.final_layernorm."),
    (_IN_LAYER + r"attention\.", r"\1self_attention."),
    (_IN_LAYER + r"self_attention\.query_key_value\.", r"\1self_attention.linear_qkv."),
    (_IN_LAYER + r"self_attention\.dense\.", r"\1self_attention.linear_proj."),
    (_IN_LAYER + r"mlp\.dense_h_to_4h\.", r"\1mlp.linear_fc1."),
    (_IN_LAYER + r"mlp\.dense_4h_to_h\.", r"\1mlp.linear_fc2."),
    (_IN_LAYER + r"input_(?:layer)?norm\.", r"\1self_attention.linear_qkv.layer_norm_"),
    (
        _IN_LAYER + r"(?:post_attention_(?:layer)?norm|pre_mlp_layernorm)\.",
        r"\1mlp.linear_fc1.layer_norm_",
    ),
)
_DROPPED = {
    r".*rotary_(?:pos_)?emb\.inv_freq": "computed from the config",
    r".*word_embeddings_for_head\.weight": "a copy of the embedding",
    r".*\._extra_state": "the state of Transformer Engine's 8-bit floats",
}
_HEAD = "lm_head.weight"
_QKV = ("heads", "kv", "kv")
_ROWS, _COLUMNS = Cut(0), Cut(1)
_PADDED, _TURNED = Trim("vocab", "padded"), Permute((1, 0))


def dialect(family: str, version: float, parts: int) -> Dialect:
    """The dialect of a checkpoint.

    Args:
        family: one of `FAMILIES`.
        version: of the checkpoint. It says how queries, keys and values lie in their one matrix: 0
            has all queries of a rank first, 1 has the three innermost, later ones have them group
            by group: the queries of a group, its key, its value.
        parts: how many ranks there are.
    """
    rules = FAMILIES[family](version)
    facts = partial(_facts, parts=parts)
    prefix = "transformer." if family == "gpt2" else "model."
    return Dialect(f"Megatron's {family}", (), rules, facts, _DROPPED, _SPELLINGS, prefix=prefix)


def _facts(config: Mapping[str, Any], parts: int) -> Facts:
    from tfcli.models.registry import read_config

    parsed = read_config(config).text
    heads, head_dim = parsed.num_attention_heads, parsed.head_dim
    groups = parsed.num_key_value_heads or heads
    sizes = {
        "heads": heads * head_dim,
        "kv": groups * head_dim,
        "groups": groups,
        "of_group": heads // groups * head_dim,
        "head_dim": head_dim,
        "ffn": parsed.intermediate_size,  # type: ignore[attr-defined]
        "vocab": parsed.vocab_size,
        "padded": padded_rows(parsed.vocab_size, parts),
    }
    tied = (_HEAD,) if parsed.tie_word_embeddings else ()
    return Facts(sizes, {"layer": range(parsed.num_hidden_layers)}, tied)


def _attention(version: float) -> tuple[Cut, Step]:
    """How ranks divide the matrix of queries, keys and values, and what takes it apart."""
    if version < 1:
        return Cut(0, blocks=3), Split(0, _QKV)
    if version < 2:
        return _ROWS, Split(0, (1, 1, 1), groups="kv")
    return _ROWS, Split(0, ("of_group", "head_dim", "head_dim"), groups="groups")


def _gpt2(version: float) -> tuple[Rule, ...]:
    cut, apart = _attention(version)
    qkv = (apart, Fuse(0, _QKV))
    return (
        Rule(_EMBEDDING, "transformer.wte.weight", (_PADDED,), _ROWS),
        Rule("embedding.position_embeddings.weight", "transformer.wpe.weight"),
        *_both(f"{_ATTENTION}qkv.layer_norm_", f"{_H}ln_1."),
        Rule(f"{_ATTENTION}qkv.weight", f"{_H}attn.c_attn.weight", (*qkv, _TURNED), cut),
        Rule(f"{_ATTENTION}qkv.bias", f"{_H}attn.c_attn.bias", qkv, cut),
        Rule(f"{_ATTENTION}proj.weight", f"{_H}attn.c_proj.weight", (_TURNED,), _COLUMNS),
        Rule(f"{_ATTENTION}proj.bias", f"{_H}attn.c_proj.bias"),
        *_both(f"{_MLP}fc1.layer_norm_", f"{_H}ln_2."),
        Rule(f"{_MLP}fc1.weight", f"{_H}mlp.c_fc.weight", (_TURNED,), _ROWS),
        Rule(f"{_MLP}fc1.bias", f"{_H}mlp.c_fc.bias", (), _ROWS),
        Rule(f"{_MLP}fc2.weight", f"{_H}mlp.c_proj.weight", (_TURNED,), _COLUMNS),
        Rule(f"{_MLP}fc2.bias", f"{_H}mlp.c_proj.bias"),
        *_both("decoder.final_layernorm.", "transformer.ln_f."),
        Rule(OUTPUT, _HEAD, (_PADDED,), _ROWS),
    )


def _llama(version: float) -> tuple[Rule, ...]:
    cut, apart = _attention(version)
    qkv = tuple(f"{_L}self_attn.{part}_proj.weight" for part in "qkv")
    gate_up = tuple(f"{_L}mlp.{part}_proj.weight" for part in ("gate", "up"))
    return (
        Rule(_EMBEDDING, "model.embed_tokens.weight", (_PADDED,), _ROWS),
        Rule(f"{_ATTENTION}qkv.layer_norm_weight", f"{_L}input_layernorm.weight"),
        Rule(f"{_ATTENTION}qkv.weight", qkv, (apart,), cut),
        Rule(f"{_ATTENTION}proj.weight", f"{_L}self_attn.o_proj.weight", (), _COLUMNS),
        Rule(f"{_MLP}fc1.layer_norm_weight", f"{_L}post_attention_layernorm.weight"),
        Rule(f"{_MLP}fc1.weight", gate_up, (Split(0, ("ffn", "ffn")),), Cut(0, blocks=2)),
        Rule(f"{_MLP}fc2.weight", f"{_L}mlp.down_proj.weight", (), _COLUMNS),
        Rule("decoder.final_layernorm.weight", "model.norm.weight"),
        Rule(OUTPUT, _HEAD, (_PADDED,), _ROWS),
    )


OUTPUT = "output_layer.weight"  # only models with a head of its own have it
FAMILIES = {"gpt2": _gpt2, "llama": _llama}
_EMBEDDING = "embedding.word_embeddings.weight"
_ATTENTION = "decoder.layers.{layer}.self_attention.linear_"
_MLP = "decoder.layers.{layer}.mlp.linear_"
_H, _L = "transformer.h.{layer}.", "model.layers.{layer}."


def _both(stored: str, name: str) -> tuple[Rule, ...]:
    return tuple(Rule(stored + leaf, name + leaf) for leaf in ("weight", "bias"))
