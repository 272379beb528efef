"""Meta's names and layouts beside Hugging Face's: one list, read in both directions.

A rule names a tensor on both sides, its whole shape, and the dimension that tensor parallelism cuts
it along. Queries and keys also differ in the order of their rows (`rotary_rows`).

Source: the reference implementations of Llama (https://github.com/meta-llama/llama-models) and
Mistral (https://github.com/mistralai/mistral-inference).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LAYER = re.compile(r"^(model\.)?layers\.(\d{1,5})\.")


@dataclass(frozen=True)
class Rule:
    """One tensor, or one of every layer where the names hold `{}`.

    Args:
        stored: Meta's name.
        name: Hugging Face's.
        shape: of the whole tensor, as keys of the sizes: `dim`, `heads` (all queries' rows),
            `kv` (all keys' rows), `ffn`, `vocab`.
        cut: the dimensions that it may be divided along; empty where each part has a copy.
        rotary: its rows are permuted within each head.
    """

    stored: str
    name: str
    shape: tuple[str, ...]
    cut: tuple[int, ...] = ()
    rotary: bool = False


OUTPUT = "output.weight"
EMBEDDING = "tok_embeddings.weight"
RULES = (
    # Llama 1 and 2 cut the embedding's columns, Llama 3 its rows.
    Rule(EMBEDDING, "model.embed_tokens.weight", ("vocab", "dim"), (0, 1)),
    Rule(
        "layers.{}.attention.wq.weight",
        "model.layers.{}.self_attn.q_proj.weight",
        ("heads", "dim"),
        (0,),
        rotary=True,
    ),
    Rule(
        "layers.{}.attention.wk.weight",
        "model.layers.{}.self_attn.k_proj.weight",
        ("kv", "dim"),
        (0,),
        rotary=True,
    ),
    Rule(
        "layers.{}.attention.wv.weight",
        "model.layers.{}.self_attn.v_proj.weight",
        ("kv", "dim"),
        (0,),
    ),
    Rule(
        "layers.{}.attention.wo.weight",
        "model.layers.{}.self_attn.o_proj.weight",
        ("dim", "heads"),
        (1,),
    ),
    Rule(
        "layers.{}.feed_forward.w1.weight",
        "model.layers.{}.mlp.gate_proj.weight",
        ("ffn", "dim"),
        (0,),
    ),
    Rule(
        "layers.{}.feed_forward.w2.weight",
        "model.layers.{}.mlp.down_proj.weight",
        ("dim", "ffn"),
        (1,),
    ),
    Rule(
        "layers.{}.feed_forward.w3.weight",
        "model.layers.{}.mlp.up_proj.weight",
        ("ffn", "dim"),
        (0,),
    ),
    Rule("layers.{}.attention_norm.weight", "model.layers.{}.input_layernorm.weight", ("dim",)),
    Rule("layers.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight", ("dim",)),
    Rule("norm.weight", "model.norm.weight", ("dim",)),
    Rule(OUTPUT, "lm_head.weight", ("vocab", "dim"), (0,)),
)
BY_STORED = {rule.stored: rule for rule in RULES}
BY_NAME = {rule.name: rule for rule in RULES}


def split_layer(name: str) -> tuple[str, int]:
    """A name with `{}` in the place of its layer, and the layer; 0 for a name without one."""
    found = _LAYER.match(name)
    if found is None:
        return name, 0
    return f"{found[1] or ''}layers.{{}}.{name[found.end() :]}", int(found[2])
