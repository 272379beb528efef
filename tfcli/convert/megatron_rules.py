"""Megatron-LM's names and layouts beside Hugging Face's, for GPT-2 and Llama.

Source: https://github.com/NVIDIA/Megatron-LM, `tools/checkpoint` and `megatron/legacy/model`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_LAYER = re.compile(r"^encoder\.layers\.(\d{1,5})\.")
# Older and newer spellings of the same modules.
_SPELLINGS = (
    (re.compile(r"^(?:model\.)?(?:language_model\.)?"), ""),
    (re.compile(r"^transformer\."), "encoder."),
    (re.compile(r"^(encoder\.layers\.\d+\.)attention\."), r"\1self_attention."),
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
    return {f"{stored}.{leaf}": Rule("copy", (f"{name}.{leaf}",)) for leaf in leaves}


_H = "encoder.layers.{}."
_BOTH = ("weight", "bias")
GPT2 = {
    "embedding.word_embeddings.weight": Rule("rows", ("transformer.wte.weight",)),
    "embedding.position_embeddings.weight": Rule("copy", ("transformer.wpe.weight",)),
    **_norm(f"{_H}input_layernorm", "transformer.h.{}.ln_1", _BOTH),
    f"{_H}self_attention.query_key_value.weight": Rule(
        "qkv", ("transformer.h.{}.attn.c_attn.weight",), turned=True
    ),
    f"{_H}self_attention.query_key_value.bias": Rule("qkv", ("transformer.h.{}.attn.c_attn.bias",)),
    f"{_H}self_attention.dense.weight": Rule(
        "columns", ("transformer.h.{}.attn.c_proj.weight",), turned=True
    ),
    f"{_H}self_attention.dense.bias": Rule("copy", ("transformer.h.{}.attn.c_proj.bias",)),
    **_norm(f"{_H}post_attention_layernorm", "transformer.h.{}.ln_2", _BOTH),
    f"{_H}mlp.dense_h_to_4h.weight": Rule(
        "rows", ("transformer.h.{}.mlp.c_fc.weight",), turned=True
    ),
    f"{_H}mlp.dense_h_to_4h.bias": Rule("rows", ("transformer.h.{}.mlp.c_fc.bias",)),
    f"{_H}mlp.dense_4h_to_h.weight": Rule(
        "columns", ("transformer.h.{}.mlp.c_proj.weight",), turned=True
    ),
    f"{_H}mlp.dense_4h_to_h.bias": Rule("copy", ("transformer.h.{}.mlp.c_proj.bias",)),
    **_norm("encoder.final_layernorm", "transformer.ln_f", _BOTH),
}
LLAMA = {
    "embedding.word_embeddings.weight": Rule("rows", ("model.embed_tokens.weight",)),
    **_norm(f"{_H}input_layernorm", "model.layers.{}.input_layernorm", ("weight",)),
    f"{_H}self_attention.query_key_value.weight": Rule(
        "qkv", tuple(f"model.layers.{{}}.self_attn.{part}_proj.weight" for part in "qkv")
    ),
    f"{_H}self_attention.dense.weight": Rule(
        "columns", ("model.layers.{}.self_attn.o_proj.weight",)
    ),
    **_norm(
        f"{_H}post_attention_layernorm", "model.layers.{}.post_attention_layernorm", ("weight",)
    ),
    f"{_H}mlp.dense_h_to_4h.weight": Rule(
        "gate_up", tuple(f"model.layers.{{}}.mlp.{part}_proj.weight" for part in ("gate", "up"))
    ),
    f"{_H}mlp.dense_4h_to_h.weight": Rule("columns", ("model.layers.{}.mlp.down_proj.weight",)),
    **_norm("encoder.final_layernorm", "model.norm", ("weight",)),
    "output_layer.weight": Rule("rows", ("lm_head.weight",)),
}
FAMILIES = {"gpt2": GPT2, "llama": LLAMA}
VOCABULARY = ("embedding.word_embeddings.weight", "output_layer.weight")  # rows are filled up
FREQUENCIES = ("rotary_pos_emb.inv_freq", "rotary_emb.inv_freq")


def split_layer(stored: str) -> tuple[str, int]:
    """A stored name in today's spelling with `{}` for its layer, and the layer (0 without one)."""
    for pattern, spelt in _SPELLINGS:
        stored = pattern.sub(spelt, stored)
    found = _LAYER.match(stored)
    if found is None:
        return stored, 0
    return f"{_H}{stored[found.end() :]}", int(found[1])
