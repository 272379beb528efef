"""GGUF's names and layouts beside Hugging Face's, for the families that are written and read.

Names, layouts and which tensors stay float32 are llama.cpp's: gguf-py's constants.py and
tensor_mapping.py, and the `modify_tensors` of its conversion scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.rules import Facts, Rule
from tfcli.checkpoints.dialect.steps import Fuse, Less, Permute, Rotary, Split, Step, Unstack
from tfcli.checkpoints.gguf.own_keys import REMAINDER

EXTRA = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that hold rotary settings; config.json has them in a checkpoint."""

_BUFFER = "a buffer that is computed from the config"
_BUFFERS = {
    r".*rotary_emb\.inv_freq": _BUFFER,
    r".*\.(attn|attention)\.(bias|masked_bias)": _BUFFER,
    r".*embeddings\.position_ids": _BUFFER,
}
_BERT_HEADS = {
    r"(bert\.)?pooler\.dense\.(weight|bias)": "GGUF keeps BERT's states, not its pooler",
    r"cls\.(predictions|seq_relationship)\..*": "GGUF keeps BERT's states, not its head",
}


@dataclass(frozen=True)
class GGUFDialect(Dialect):
    """A model type's side of GGUF.

    Args:
        model_type: config.json's.
        arch: GGUF's `general.architecture`.
        head: the output matrix, which is not stored where it is the embedding.
    """

    model_type: str = ""
    arch: str = ""
    head: str | None = "lm_head.weight"


def _facts(config: Mapping[str, Any]) -> Facts:
    from tfcli.models.registry import read_config

    parsed: Any = read_config(config)
    heads, head_dim = parsed.num_attention_heads, parsed.head_dim
    sizes = {"head_dim": head_dim, "heads": heads * head_dim, "groups": heads}
    experts = range(getattr(parsed, "num_experts", 0))
    numbers = {"layer": range(parsed.num_hidden_layers), "expert": experts}
    tied = ("lm_head.weight", "embed_out.weight") if parsed.tie_word_embeddings else ()
    return Facts(sizes, numbers, (r".*\.bias", *tied))


def _rules(
    pairs: Mapping[str, str], layer: str = "", steps: Mapping[str, tuple[Step, ...]] | None = None
) -> tuple[Rule, ...]:
    """Rules of pairs of names; below a layer where `layer` says what one is called.

    Args:
        pairs: Hugging Face's name -> GGUF's; `{p}` stands for `weight` and for `bias`.
        layer: begins Hugging Face's names.
        steps: by the first part of GGUF's name.
    """
    block = "blk.{layer}." if layer else ""
    found = []
    for name, stored in pairs.items():
        change = (steps or {}).get(stored.partition(".")[0], ())
        if "{expert}" in name and "{expert}" not in stored:
            change = (Unstack(),)
        for leaf in ("weight", "bias") if "{p}" in name else ("",):
            names = block + stored.replace("{p}", leaf), layer + name.replace("{p}", leaf)
            found.append(Rule(*names, change))
    return tuple(found)


def _norms(pairs: Mapping[str, str], layer: str = "") -> tuple[Rule, ...]:
    """Rules of norms that Hugging Face stores less 1 and GGUF whole, always in float32."""
    return tuple(
        Rule((str(rule.stored), f"{REMAINDER}{rule.stored}"), rule.names, (Less(),))
        for rule in _rules(pairs, layer)
    )


_LAYER = "model.layers.{layer}."
_ROTARY: Mapping[str, tuple[Step, ...]] = dict.fromkeys(("attn_q", "attn_k"), (Rotary("head_dim"),))
_EMBEDDING = {"model.embed_tokens.weight": "token_embd.weight"}
_NORM = {"model.norm.{p}": "output_norm.{p}"}
_HEAD = {"lm_head.weight": "output.weight"}
_ATTENTION = {
    "self_attn.q_proj.{p}": "attn_q.{p}",
    "self_attn.k_proj.{p}": "attn_k.{p}",
    "self_attn.v_proj.{p}": "attn_v.{p}",
    "self_attn.o_proj.{p}": "attn_output.{p}",
}
_GATED = {
    "mlp.gate_proj.{p}": "ffn_gate.{p}",
    "mlp.up_proj.{p}": "ffn_up.{p}",
    "mlp.down_proj.{p}": "ffn_down.{p}",
}
_TWO_NORMS = {
    "input_layernorm.{p}": "attn_norm.{p}",
    "post_attention_layernorm.{p}": "ffn_norm.{p}",
}
_HEAD_NORMS = {
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
}
_FOUR_NORMS = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
}
_MIXTRAL = {
    "block_sparse_moe.gate.weight": "ffn_gate_inp.weight",
    "block_sparse_moe.experts.{expert}.w1.weight": "ffn_gate_exps.weight",
    "block_sparse_moe.experts.{expert}.w2.weight": "ffn_down_exps.weight",
    "block_sparse_moe.experts.{expert}.w3.weight": "ffn_up_exps.weight",
}
_MIXTRAL_OLDER = {  # a tensor for each expert
    "block_sparse_moe.gate.weight": "ffn_gate_inp.weight",
    "block_sparse_moe.experts.{expert}.w1.weight": "ffn_gate.{expert}.weight",
    "block_sparse_moe.experts.{expert}.w2.weight": "ffn_down.{expert}.weight",
    "block_sparse_moe.experts.{expert}.w3.weight": "ffn_up.{expert}.weight",
}
_QWEN_EXPERTS = {
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.experts.{expert}.gate_proj.weight": "ffn_gate_exps.weight",
    "mlp.experts.{expert}.down_proj.weight": "ffn_down_exps.weight",
    "mlp.experts.{expert}.up_proj.weight": "ffn_up_exps.weight",
}
_PHI = {
    "self_attn.qkv_proj.weight": "attn_qkv.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
_GPT2 = {
    "ln_1.{p}": "attn_norm.{p}",
    "attn.c_attn.bias": "attn_qkv.bias",
    "attn.c_proj.bias": "attn_output.bias",
    "ln_2.{p}": "ffn_norm.{p}",
    "mlp.c_fc.bias": "ffn_up.bias",
    "mlp.c_proj.bias": "ffn_down.bias",
}
_GPT2_LINEARS = {
    "attn.c_attn.weight": "attn_qkv.weight",
    "attn.c_proj.weight": "attn_output.weight",
    "mlp.c_fc.weight": "ffn_up.weight",
    "mlp.c_proj.weight": "ffn_down.weight",
}
_NEOX = {
    "input_layernorm.{p}": "attn_norm.{p}",
    "attention.query_key_value.{p}": "attn_qkv.{p}",
    "attention.dense.{p}": "attn_output.{p}",
    "post_attention_layernorm.{p}": "ffn_norm.{p}",
    "mlp.dense_h_to_4h.{p}": "ffn_up.{p}",
    "mlp.dense_4h_to_h.{p}": "ffn_down.{p}",
}
_STARCODER2 = {
    "mlp.c_fc.{p}": "ffn_up.{p}",
    "mlp.c_proj.{p}": "ffn_down.{p}",
}
_BERT = {
    "attention.self.query.{p}": "attn_q.{p}",
    "attention.self.key.{p}": "attn_k.{p}",
    "attention.self.value.{p}": "attn_v.{p}",
    "attention.output.dense.{p}": "attn_output.{p}",
    "attention.output.LayerNorm.{p}": "attn_output_norm.{p}",
    "intermediate.dense.{p}": "ffn_up.{p}",
    "output.dense.{p}": "ffn_down.{p}",
    "output.LayerNorm.{p}": "layer_output_norm.{p}",
}
_TRANSPOSED: Mapping[str, tuple[Step, ...]] = dict.fromkeys(
    ("attn_qkv", "attn_output", "ffn_up", "ffn_down"), (Permute((1, 0)),)
)
# All queries, all keys, all values become those of each head in turn.
_BY_HEAD: Mapping[str, tuple[Step, ...]] = {
    "attn_qkv": (
        Split(0, ("heads", "heads", "heads")),
        Fuse(0, ("head_dim", "head_dim", "head_dim"), groups="groups"),
    )
}


def _dialect(
    model_type: str,
    arch: str,
    prefix: str,
    *rules: tuple[Rule, ...],
    head: str | None = "lm_head.weight",
    unwritten: Mapping[str, str] = _BUFFERS,
    marks: tuple[str, ...] = (),
) -> GGUFDialect:
    return GGUFDialect(
        f"GGUF's {arch}",
        marks,
        tuple(rule for part in rules for rule in part),
        _facts,
        dict.fromkeys(map(re.escape, EXTRA), "rotary settings, which the config has"),
        unwritten=unwritten,
        prefix=prefix,
        model_type=model_type,
        arch=arch,
        head=head,
    )


def _llama(
    model_type: str,
    arch: str,
    *layers: Mapping[str, str],
    rotary: bool = False,
    marks: tuple[str, ...] = (),
) -> GGUFDialect:
    ends = _rules({**_EMBEDDING, **_NORM, **_HEAD})
    parts = (_rules(pairs, _LAYER, _ROTARY if rotary else None) for pairs in layers)
    return _dialect(model_type, arch, "model.", ends, *parts, marks=marks)


def _gemma(model_type: str, arch: str, norms: Mapping[str, str], *, tied: bool) -> GGUFDialect:
    return _dialect(
        model_type,
        arch,
        "model.",
        _rules(_EMBEDDING if tied else {**_EMBEDDING, **_HEAD}),
        _norms(_NORM),
        _rules({**_ATTENTION, **_GATED}, _LAYER),
        _norms(norms, _LAYER),
    )


DIALECTS: tuple[GGUFDialect, ...] = (
    _llama("llama", "llama", _ATTENTION, _GATED, _TWO_NORMS, rotary=True),
    _llama("mistral", "llama", _ATTENTION, _GATED, _TWO_NORMS, rotary=True),
    _llama("mixtral", "llama", _ATTENTION, _MIXTRAL, _TWO_NORMS, rotary=True),
    _llama("qwen2", "qwen2", _ATTENTION, _GATED, _TWO_NORMS),
    _llama("qwen3", "qwen3", _ATTENTION, _GATED, _TWO_NORMS, _HEAD_NORMS),
    _llama("qwen3_moe", "qwen3moe", _ATTENTION, _QWEN_EXPERTS, _TWO_NORMS, _HEAD_NORMS),
    _gemma("gemma", "gemma", _TWO_NORMS, tied=True),
    _gemma("gemma2", "gemma2", _FOUR_NORMS, tied=True),
    _gemma("gemma3_text", "gemma3", {**_FOUR_NORMS, **_HEAD_NORMS}, tied=False),
    _llama("phi3", "phi3", _PHI, _TWO_NORMS),
    _llama("starcoder2", "starcoder2", _ATTENTION, _STARCODER2, _TWO_NORMS),
    _dialect(
        "gpt2",
        "gpt2",
        "transformer.",
        _rules(
            {
                "transformer.wte.weight": "token_embd.weight",
                "transformer.wpe.weight": "position_embd.weight",
                "transformer.ln_f.{p}": "output_norm.{p}",
                "lm_head.weight": "output.weight",
            }
        ),
        _rules(_GPT2, "transformer.h.{layer}."),
        _rules(_GPT2_LINEARS, "transformer.h.{layer}.", _TRANSPOSED),
    ),
    _dialect(
        "gpt_neox",
        "gptneox",
        "gpt_neox.",
        _rules(
            {
                "gpt_neox.embed_in.weight": "token_embd.weight",
                "gpt_neox.final_layer_norm.{p}": "output_norm.{p}",
                "embed_out.weight": "output.weight",
            }
        ),
        _rules(_NEOX, "gpt_neox.layers.{layer}.", _BY_HEAD),
        head="embed_out.weight",
    ),
    _dialect(
        "bert",
        "bert",
        "bert.",
        _rules(
            {
                "bert.embeddings.word_embeddings.weight": "token_embd.weight",
                "bert.embeddings.position_embeddings.weight": "position_embd.weight",
                "bert.embeddings.token_type_embeddings.weight": "token_types.weight",
                "bert.embeddings.LayerNorm.{p}": "token_embd_norm.{p}",
            }
        ),
        _rules(_BERT, "bert.encoder.layer.{layer}."),
        head=None,
        unwritten={**_BUFFERS, **_BERT_HEADS},
    ),
)
BY_MODEL_TYPE = {dialect.model_type: dialect for dialect in DIALECTS}
OLDER = {
    "mixtral": _llama(
        "mixtral",
        "llama",
        _ATTENTION,
        _MIXTRAL_OLDER,
        _TWO_NORMS,
        rotary=True,
        marks=("blk.0.ffn_gate.0.weight",),
    )
}
"""What older files have instead, by model type; they are read only."""
