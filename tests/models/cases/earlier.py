"""Decoders from before Llama."""

from __future__ import annotations

from tests.models.case import DECODER_TASKS, Case

_GPT2 = {
    "vocab_size": 61,
    "n_positions": 32,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "initializer_range": 0.2,
    "bos_token_id": 60,
    "eos_token_id": 60,
}
_NO_SPANS = tuple(task for task in DECODER_TASKS if task != "question-answering")
_NO_TOKENS = tuple(task for task in DECODER_TASKS if task != "token-classification")
_GPT_NEO = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 6,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
    "bos_token_id": 60,
    "eos_token_id": 60,
}
_NEOX = {
    "vocab_size": 61,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
_BLOOM = {
    "vocab_size": 61,
    "hidden_size": 32,
    "n_layer": 2,
    "n_head": 4,
    "seq_length": 32,
    "initializer_range": 0.2,
}
_OPT = {
    "vocab_size": 61,
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "init_std": 0.2,
}
_FALCON = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
    "bos_token_id": 60,
    "eos_token_id": 60,
}

CASES = [
    Case("gpt2", "GPT2Config", _GPT2, DECODER_TASKS),
    Case("gpt2-untied", "GPT2Config", _GPT2 | {"tie_word_embeddings": False, "n_inner": 40}),
    Case(
        "gpt2-scales",
        "GPT2Config",
        _GPT2
        | {
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
            "reorder_and_upcast_attn": True,
            "activation_function": "relu",
        },
    ),
    Case("gpt_neo", "GPTNeoConfig", _GPT_NEO, DECODER_TASKS, attention="eager"),
    Case(
        "gpt_neo-types",
        "GPTNeoConfig",
        _GPT_NEO
        | {
            "num_layers": 3,
            "attention_types": [[["local", "global"], 1], [["local"], 1]],
            "intermediate_size": 40,
            "activation_function": "relu",
            "resid_dropout": 0.2,
            "embed_dropout": 0.1,
            "attention_dropout": 0.1,
            "classifier_dropout": 0.3,
            "tie_word_embeddings": False,
        },
        attention="eager",
    ),
    Case("gptj", "GPTJConfig", _GPT2 | {"rotary_dim": 4}, _NO_TOKENS, attention="eager"),
    Case(
        "gptj-tied",
        "GPTJConfig",
        _GPT2
        | {
            "rotary_dim": 8,
            "n_inner": 40,
            "tie_word_embeddings": True,
            "resid_pdrop": 0.2,
            "embd_pdrop": 0.1,
            "attn_pdrop": 0.1,
            "layer_norm_epsilon": 1e-3,
        },
        attention="eager",
    ),
    Case("gpt_neox", "GPTNeoXConfig", _NEOX, DECODER_TASKS),
    Case(
        "gpt_neox-sequential",
        "GPTNeoXConfig",
        _NEOX
        | {
            "use_parallel_residual": False,
            "attention_bias": False,
            "rotary_pct": 0.5,
            "rotary_emb_base": 500,
            "tie_word_embeddings": True,
            "hidden_dropout": 0.2,
            "attention_dropout": 0.1,
            "hidden_act": "gelu_fast",
        },
    ),
    Case(
        "gpt_neox-linear",
        "GPTNeoXConfig",
        _NEOX | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}, "layer_norm_eps": 1e-3},
    ),
    Case("gpt_bigcode", "GPTBigCodeConfig", _GPT2, _NO_SPANS),
    Case(
        "gpt_bigcode-many-keys",
        "GPTBigCodeConfig",
        _GPT2
        | {
            "multi_query": False,
            "scale_attn_weights": False,
            "n_inner": 40,
            "tie_word_embeddings": False,
            "activation_function": "relu",
        },
    ),
    Case(
        "codegen",
        "CodeGenConfig",
        _GPT2 | {"rotary_dim": 4, "n_ctx": 32},
        ("causal-lm", "embedding"),
        attention="eager",
    ),
    Case(
        "codegen-shards",
        "CodeGenConfig",
        _GPT2 | {"rotary_dim": 2, "n_head": 8, "n_inner": 40, "resid_pdrop": 0.2},
        attention="eager",
    ),
    Case("bloom", "BloomConfig", _BLOOM, DECODER_TASKS, attention="eager"),
    Case(
        "bloom-six-heads",
        "BloomConfig",
        _BLOOM
        | {
            "n_head": 6,
            "hidden_size": 48,
            "apply_residual_connection_post_layernorm": True,
            "hidden_dropout": 0.2,
            "attention_dropout": 0.1,
            "tie_word_embeddings": False,
            "layer_norm_epsilon": 1e-3,
        },
        attention="eager",
    ),
    Case("opt", "OPTConfig", _OPT, _NO_TOKENS),
    Case(
        "opt-narrow",
        "OPTConfig",
        _OPT
        | {
            "word_embed_proj_dim": 16,
            "do_layer_norm_before": False,
            "attention_dropout": 0.1,
            "activation_function": "gelu",
        },
        _NO_TOKENS,
    ),
    Case(
        "opt-bare",
        "OPTConfig",
        _OPT
        | {
            "enable_bias": False,
            "layer_norm_elementwise_affine": False,
            "tie_word_embeddings": False,
        },
    ),
    Case("opt-no-final-norm", "OPTConfig", _OPT | {"_remove_final_layer_norm": True}),
    Case("falcon", "FalconConfig", _FALCON, DECODER_TASKS),
    Case(
        "falcon-alibi",
        "FalconConfig",
        _FALCON
        | {
            "alibi": True,
            "multi_query": False,
            "parallel_attn": False,
            "bias": True,
            "num_attention_heads": 12,  # their slopes are rounded
            "hidden_size": 48,
            "hidden_dropout": 0.2,
            "attention_dropout": 0.1,
            "ffn_hidden_size": 40,
        },
        attends=False,  # step by step, transformers adds the bias twice
        drops_alike=False,
    ),
    Case(
        "falcon-new",
        "FalconConfig",
        _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    Case(
        "falcon-new-one-norm",
        "FalconConfig",
        _FALCON
        | {
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
            "num_ln_in_parallel_attn": 1,
            "tie_word_embeddings": False,
            "activation": "relu",
            "layer_norm_epsilon": 1e-3,
            "rope_theta": 500.0,
        },
    ),
    Case(
        "falcon-sequential",
        "FalconConfig",
        _FALCON | {"parallel_attn": False, "hidden_dropout": 0.2},
    ),
]

_MPT = {
    "vocab_size": 61,
    "d_model": 32,
    "n_heads": 4,
    "n_layers": 2,
    "max_seq_len": 32,
    "initializer_range": 0.2,
}
_CTRL = {name: _GPT2[name] for name in _GPT2 if not name.endswith("token_id")} | {"dff": 64}
CASES += [
    Case("mpt", "MptConfig", _MPT, DECODER_TASKS, attention="eager"),
    Case(
        "mpt-clipped",
        "MptConfig",
        _MPT
        | {
            "d_model": 48,
            "n_heads": 6,
            "attn_config": {"clip_qkv": 0.7, "softmax_scale": 0.2},
            "tie_word_embeddings": False,
        },
        attention="eager",
    ),
    Case(
        "ctrl",
        "CTRLConfig",
        _CTRL,
        ("causal-lm", "sequence-classification", "embedding"),
        extra=("token_type_ids",),
    ),
    Case("ctrl-untied", "CTRLConfig", _CTRL | {"tie_word_embeddings": False, "n_head": 2}),
]
