"""Meta's names and layouts beside Hugging Face's.

Queries and keys differ in the order of their rows (`rotary_rows`). Tensor parallelism cuts the
embedding's columns in Llama 1 and 2, its rows in Llama 3.

Source: the reference implementations of Llama (https://github.com/meta-llama/llama-models) and
Mistral (https://github.com/mistralai/mistral-inference).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.rules import Cut, Facts, Rule
from tfcli.checkpoints.dialect.steps import Rotary
from tfcli.checkpoints.meta.params import LLAMA3_VOCAB

OUTPUT = "output.weight"
EMBEDDING = "tok_embeddings.weight"
FIRST_FFN = "layers.0.feed_forward.w1.weight"
_ROWS, _COLUMNS = Cut(0), Cut(1)
_ROTARY = (Rotary("head_dim"),)


def _layer(
    stored: str, name: str, shape: tuple[str, ...], cut: Cut | None = None, *, rotary: bool = False
) -> Rule:
    stored, name = f"layers.{{layer}}.{stored}.weight", f"model.layers.{{layer}}.{name}.weight"
    return Rule(stored, name, _ROTARY if rotary else (), cut, shape)


_LAYERS = (
    _layer("attention.wq", "self_attn.q_proj", ("heads", "dim"), _ROWS, rotary=True),
    _layer("attention.wk", "self_attn.k_proj", ("kv", "dim"), _ROWS, rotary=True),
    _layer("attention.wv", "self_attn.v_proj", ("kv", "dim"), _ROWS),
    _layer("attention.wo", "self_attn.o_proj", ("dim", "heads"), _COLUMNS),
    _layer("feed_forward.w1", "mlp.gate_proj", ("ffn", "dim"), _ROWS),
    _layer("feed_forward.w2", "mlp.down_proj", ("dim", "ffn"), _COLUMNS),
    _layer("feed_forward.w3", "mlp.up_proj", ("ffn", "dim"), _ROWS),
    _layer("attention_norm", "input_layernorm", ("dim",)),
    _layer("ffn_norm", "post_attention_layernorm", ("dim",)),
)


def dialect(vocab: int) -> Dialect:
    """The dialect of a model with so many tokens, which say how its embedding is cut."""
    embedding = Cut(0, other=1) if vocab >= LLAMA3_VOCAB else Cut(1, other=0)
    return Dialect(
        "meta",
        (EMBEDDING,),
        (
            Rule(EMBEDDING, "model.embed_tokens.weight", (), embedding, ("vocab", "dim")),
            *_LAYERS,
            Rule("norm.weight", "model.norm.weight", shape=("dim",)),
            Rule(OUTPUT, "lm_head.weight", (), _ROWS, ("vocab", "dim")),
        ),
        _facts,
        {r".*rope\.freqs": "rotary frequencies, computed from rope_theta"},
    )


def _facts(config: Mapping[str, Any]) -> Facts:
    from tfcli.models.registry import read_config

    parsed = read_config(config).text
    sizes = {
        "dim": parsed.hidden_size,
        "heads": parsed.num_attention_heads * parsed.head_dim,
        "kv": parsed.num_key_value_heads * parsed.head_dim,
        "head_dim": parsed.head_dim,
        "ffn": parsed.intermediate_size,  # type: ignore[attr-defined]
        "vocab": parsed.vocab_size,
    }
    tied = ("lm_head.weight",) if parsed.tie_word_embeddings else ()
    return Facts(sizes, {"layer": range(parsed.num_hidden_layers)}, tied)
