"""Megatron-LM's names and layouts beside Hugging Face's, for GPT-2 and Llama.

The names are those of Megatron Core with Transformer Engine, Megatron's default since 2024. Those
of its own layers (`--transformer-impl local`) and of the models before Megatron Core are other
spellings of the same. Read in both directions: by `readers.megatron` and `writers.megatron`.

Source: https://github.com/NVIDIA/Megatron-LM, `tools/checkpoint` (`schema_core.py`; until 2025 also
`loader_legacy.py`) and `megatron/core/models/gpt`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_H = "decoder.layers.{}."
_LAYER = re.compile(r"^decoder\.layers\.(\d{1,5})\.")
_IN_LAYER = r"^(decoder\.layers\.\d+\.)"
# Other spellings of the same tensors, put right one after the other.
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

Cut = Literal["copy", "rows", "columns", "qkv", "gate_up"]


@dataclass(frozen=True)
class Rule:
    """One stored tensor, or one of every layer.

    Args:
        cut: how tensor parallelism divides it. `copy`: not at all. `rows` and `columns`: along
            dimension 0 and 1. `qkv`: rows of queries, keys and values, interleaved. `gate_up`:
            each part has its rows of the gate and then those of the up projection.
        names: Hugging Face's; several where it is divided there.
        turned: Hugging Face stores the transposed matrix.
    """

    cut: Cut
    names: tuple[str, ...]
    turned: bool = False


def _norm(stored: str, name: str, leaves: tuple[str, ...]) -> dict[str, Rule]:
    return {f"{stored}{leaf}": Rule("copy", (f"{name}.{leaf}",)) for leaf in leaves}


_BOTH = ("weight", "bias")
GPT2 = {
    "embedding.word_embeddings.weight": Rule("rows", ("transformer.wte.weight",)),
    "embedding.position_embeddings.weight": Rule("copy", ("transformer.wpe.weight",)),
    **_norm(f"{_H}self_attention.linear_qkv.layer_norm_", "transformer.h.{}.ln_1", _BOTH),
    f"{_H}self_attention.linear_qkv.weight": Rule(
        "qkv", ("transformer.h.{}.attn.c_attn.weight",), turned=True
    ),
    f"{_H}self_attention.linear_qkv.bias": Rule("qkv", ("transformer.h.{}.attn.c_attn.bias",)),
    f"{_H}self_attention.linear_proj.weight": Rule(
        "columns", ("transformer.h.{}.attn.c_proj.weight",), turned=True
    ),
    f"{_H}self_attention.linear_proj.bias": Rule("copy", ("transformer.h.{}.attn.c_proj.bias",)),
    **_norm(f"{_H}mlp.linear_fc1.layer_norm_", "transformer.h.{}.ln_2", _BOTH),
    f"{_H}mlp.linear_fc1.weight": Rule("rows", ("transformer.h.{}.mlp.c_fc.weight",), turned=True),
    f"{_H}mlp.linear_fc1.bias": Rule("rows", ("transformer.h.{}.mlp.c_fc.bias",)),
    f"{_H}mlp.linear_fc2.weight": Rule(
        "columns", ("transformer.h.{}.mlp.c_proj.weight",), turned=True
    ),
    f"{_H}mlp.linear_fc2.bias": Rule("copy", ("transformer.h.{}.mlp.c_proj.bias",)),
    **_norm("decoder.final_layernorm.", "transformer.ln_f", _BOTH),
    "output_layer.weight": Rule("rows", ("lm_head.weight",)),
}
LLAMA = {
    "embedding.word_embeddings.weight": Rule("rows", ("model.embed_tokens.weight",)),
    **_norm(
        f"{_H}self_attention.linear_qkv.layer_norm_",
        "model.layers.{}.input_layernorm",
        ("weight",),
    ),
    f"{_H}self_attention.linear_qkv.weight": Rule(
        "qkv", tuple(f"model.layers.{{}}.self_attn.{part}_proj.weight" for part in "qkv")
    ),
    f"{_H}self_attention.linear_proj.weight": Rule(
        "columns", ("model.layers.{}.self_attn.o_proj.weight",)
    ),
    **_norm(
        f"{_H}mlp.linear_fc1.layer_norm_",
        "model.layers.{}.post_attention_layernorm",
        ("weight",),
    ),
    f"{_H}mlp.linear_fc1.weight": Rule(
        "gate_up", tuple(f"model.layers.{{}}.mlp.{part}_proj.weight" for part in ("gate", "up"))
    ),
    f"{_H}mlp.linear_fc2.weight": Rule("columns", ("model.layers.{}.mlp.down_proj.weight",)),
    **_norm("decoder.final_layernorm.", "model.norm", ("weight",)),
    "output_layer.weight": Rule("rows", ("lm_head.weight",)),
}
FAMILIES = {"gpt2": GPT2, "llama": LLAMA}
VOCABULARY = ("embedding.word_embeddings.weight", "output_layer.weight")  # rows are filled up
OUTPUT = "output_layer.weight"  # only models with a head of its own have it
# Stored, and in no tensor of Hugging Face's -> why.
UNUSED = {
    "rotary_pos_emb.inv_freq": "computed from the config",
    "rotary_emb.inv_freq": "computed from the config",
    "word_embeddings_for_head.weight": "a copy of the embedding",
    "._extra_state": "the state of Transformer Engine's 8-bit floats",
}


def split_layer(stored: str) -> tuple[str, int]:
    """A stored name in today's spelling with `{}` for its layer, and the layer (0 without one)."""
    for pattern, spelt in _SPELLINGS:
        stored = re.sub(pattern, spelt, stored)
    found = _LAYER.match(stored)
    if found is None:
        return stored, 0
    return f"{_H}{stored[found.end() :]}", int(found[1])


def stored_names(family: str, layers: int) -> Iterator[tuple[str, Rule, tuple[str, ...]]]:
    """Every tensor of a model in Megatron's order: its name, its rule, and Hugging Face's names."""
    rules = FAMILIES[family]
    inner = [template for template in rules if template.startswith(_H)]
    last = list(rules).index(inner[-1])
    for number, template in enumerate(rules):
        if template not in inner:
            yield template, rules[template], rules[template].names
        if number == last:
            for layer in range(layers):
                for one in inner:
                    names = tuple(name.format(layer) for name in rules[one].names)
                    yield one.format(layer), rules[one], names
