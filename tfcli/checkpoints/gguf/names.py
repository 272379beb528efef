"""The families that GGUF files are written and read for, and their tensors' names.

Names, transformations and which tensors stay float32 are llama.cpp's: gguf-py's constants.py and
tensor_mapping.py, and the `modify_tensors` of its conversion scripts.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.checkpoints.gguf.rules import AddOne, ByKind, Change, Dialect, Permute, Rule, Transpose

EXTRA = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that hold rotary settings; config.json has them in a checkpoint."""

_SINGLE = ("ffn_gate_inp", "position_embd", "token_types")
_BUFFER = "a buffer that is computed from the config"
_BUFFERS = (
    (r".*rotary_emb\.inv_freq", _BUFFER),
    (r".*\.(attn|attention)\.(bias|masked_bias)", _BUFFER),
    (r".*embeddings\.position_ids", _BUFFER),
)
_BERT_HEADS = (
    (r"bert\.pooler\.dense\.(weight|bias)", "GGUF keeps BERT's states, not its pooler"),
    (r"cls\.(predictions|seq_relationship)\..*", "GGUF keeps BERT's states, not its head"),
)


def stays_single(name: str, dimensions: int) -> bool:
    """Whether a GGUF tensor is float32 whatever type is asked for, as llama.cpp requires."""
    stem = name.removesuffix(".weight")
    return (
        dimensions < 2
        or stem == name
        or stem.endswith("_norm")
        or stem.rpartition(".")[2] in _SINGLE
    )


def _rules(
    pairs: Mapping[str, str], layer: str = "", changes: Mapping[str, Change] | None = None
) -> tuple[Rule, ...]:
    """One rule for each pair of names; below a layer where `layer` says what one is called."""
    block = "blk.{i}." if layer else ""
    changes = changes or {}
    return tuple(
        Rule(layer + hf, block + gguf, changes.get(gguf.partition(".")[0]))
        for hf, gguf in pairs.items()
    )


_LAYER = "model.layers.{i}."
_ROTARY: Mapping[str, Change] = {
    "attn_q": Permute("num_attention_heads"),
    "attn_k": Permute("num_key_value_heads"),
}
_ENDS = _rules(
    {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.{p}": "output_norm.{p}",
        "lm_head.weight": "output.weight",
    }
)
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
    "block_sparse_moe.experts.{e}.w1.weight": "ffn_gate_exps.weight",
    "block_sparse_moe.experts.{e}.w2.weight": "ffn_down_exps.weight",
    "block_sparse_moe.experts.{e}.w3.weight": "ffn_up_exps.weight",
}
_MIXTRAL_OLDER = {  # a tensor for each expert
    "block_sparse_moe.experts.{e}.w1.weight": "ffn_gate.{e}.weight",
    "block_sparse_moe.experts.{e}.w2.weight": "ffn_down.{e}.weight",
    "block_sparse_moe.experts.{e}.w3.weight": "ffn_up.{e}.weight",
}
_QWEN_EXPERTS = {
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.experts.{e}.gate_proj.weight": "ffn_gate_exps.weight",
    "mlp.experts.{e}.down_proj.weight": "ffn_down_exps.weight",
    "mlp.experts.{e}.up_proj.weight": "ffn_up_exps.weight",
}
_PHI = {
    "self_attn.qkv_proj.weight": "attn_qkv.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
_GPT2 = {
    "ln_1.{p}": "attn_norm.{p}",
    "attn.c_attn.weight": "attn_qkv.weight",
    "attn.c_attn.bias": "attn_qkv.bias",
    "attn.c_proj.weight": "attn_output.weight",
    "attn.c_proj.bias": "attn_output.bias",
    "ln_2.{p}": "ffn_norm.{p}",
    "mlp.c_fc.weight": "ffn_up.weight",
    "mlp.c_fc.bias": "ffn_up.bias",
    "mlp.c_proj.weight": "ffn_down.weight",
    "mlp.c_proj.bias": "ffn_down.bias",
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
_TRANSPOSED: Mapping[str, Change] = dict.fromkeys(
    ("attn_qkv", "attn_output", "ffn_up", "ffn_down"), Transpose()
)


def _llama(
    model_type: str,
    arch: str,
    *layers: Mapping[str, str],
    rotary: bool,
    older: Mapping[str, str] | None = None,
) -> Dialect:
    pairs = {name: gguf for part in layers for name, gguf in part.items()}
    rules = _rules(pairs, _LAYER, _ROTARY if rotary else None)
    return Dialect(
        model_type,
        arch,
        "model.",
        (*_ENDS, *rules),
        _BUFFERS,
        older=_rules(older or {}, _LAYER),
    )


def _gemma(model_type: str, arch: str, norms: Mapping[str, str]) -> Dialect:
    more = AddOne()
    ends = tuple(
        Rule(rule.hf, rule.gguf, more if rule.gguf.startswith("output_norm") else None)
        for rule in _ENDS
        if model_type == "gemma3_text" or rule.gguf != "output.weight"  # the others are always tied
    )
    rules = _rules({**_ATTENTION, **_GATED}, _LAYER)
    rules += tuple(Rule(_LAYER + hf, f"blk.{{i}}.{gguf}", more) for hf, gguf in norms.items())
    return Dialect(model_type, arch, "model.", (*ends, *rules), _BUFFERS)


def _without_bias(rule: Rule) -> Rule:
    return Rule(rule.hf, rule.gguf) if rule.gguf.endswith(".bias") else rule


DIALECTS: tuple[Dialect, ...] = (
    _llama("llama", "llama", _ATTENTION, _GATED, _TWO_NORMS, rotary=True),
    _llama("mistral", "llama", _ATTENTION, _GATED, _TWO_NORMS, rotary=True),
    _llama("mixtral", "llama", _ATTENTION, _MIXTRAL, _TWO_NORMS, rotary=True, older=_MIXTRAL_OLDER),
    _llama("qwen2", "qwen2", _ATTENTION, _GATED, _TWO_NORMS, rotary=False),
    _llama("qwen3", "qwen3", _ATTENTION, _GATED, _TWO_NORMS, _HEAD_NORMS, rotary=False),
    _llama(
        "qwen3_moe",
        "qwen3moe",
        _ATTENTION,
        _QWEN_EXPERTS,
        _TWO_NORMS,
        _HEAD_NORMS,
        rotary=False,
    ),
    _gemma("gemma", "gemma", _TWO_NORMS),
    _gemma("gemma2", "gemma2", _FOUR_NORMS),
    _gemma("gemma3_text", "gemma3", {**_FOUR_NORMS, **_HEAD_NORMS}),
    _llama("phi3", "phi3", _PHI, _TWO_NORMS, rotary=False),
    _llama("starcoder2", "starcoder2", _ATTENTION, _STARCODER2, _TWO_NORMS, rotary=False),
    Dialect(
        "gpt2",
        "gpt2",
        "transformer.",
        (
            *_rules(
                {
                    "transformer.wte.weight": "token_embd.weight",
                    "transformer.wpe.weight": "position_embd.weight",
                    "transformer.ln_f.{p}": "output_norm.{p}",
                    "lm_head.weight": "output.weight",
                }
            ),
            *map(_without_bias, _rules(_GPT2, "transformer.h.{i}.", _TRANSPOSED)),
        ),
        _BUFFERS,
    ),
    Dialect(
        "gpt_neox",
        "gptneox",
        "gpt_neox.",
        (
            *_rules(
                {
                    "gpt_neox.embed_in.weight": "token_embd.weight",
                    "gpt_neox.final_layer_norm.{p}": "output_norm.{p}",
                    "embed_out.weight": "output.weight",
                }
            ),
            *_rules(_NEOX, "gpt_neox.layers.{i}.", {"attn_qkv": ByKind()}),
        ),
        _BUFFERS,
        head="embed_out.weight",
    ),
    Dialect(
        "bert",
        "bert",
        "bert.",
        (
            *_rules(
                {
                    "bert.embeddings.word_embeddings.weight": "token_embd.weight",
                    "bert.embeddings.position_embeddings.weight": "position_embd.weight",
                    "bert.embeddings.token_type_embeddings.weight": "token_types.weight",
                    "bert.embeddings.LayerNorm.{p}": "token_embd_norm.{p}",
                }
            ),
            *_rules(_BERT, "bert.encoder.layer.{i}."),
        ),
        (*_BUFFERS, *_BERT_HEADS),
        head=None,
    ),
)
BY_MODEL_TYPE = {dialect.model_type: dialect for dialect in DIALECTS}
