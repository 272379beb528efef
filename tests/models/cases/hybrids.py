"""Decoders in which some layers attend and others carry a state or convolve."""

from __future__ import annotations

from typing import Any

from tests.models.case import DECODER_TASKS, Case

_COMMON = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
    "pad_token_id": None,
}
_BALANCED = {"output_router_logits": True, "router_aux_loss_coef": 0.5}
_TEXTS = ("causal-lm", "sequence-classification", "embedding")
_FACTORS = {
    "lm_head_multiplier": 0.7,
    "embedding_multiplier": 1.5,
    "mlp_multipliers": [0.8, 1.2],
    "key_multiplier": 1.4,
    "attention_in_multiplier": 0.9,
    "attention_out_multiplier": 1.1,
    "ssm_multipliers": [0.8, 1.1, 0.9, 1.2, 0.7],
    "ssm_in_multiplier": 1.3,
    "ssm_out_multiplier": 0.6,
}
_BOTH = ["linear_attention", "full_attention"]
_DELTA = {
    "head_dim": 16,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": _BOTH,
}
_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 20,
}


def _next(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    settings = _COMMON | _DELTA | _EXPERTS | changes
    return Case(f"qwen3_next-{name}", "Qwen3NextConfig", settings, tasks)


def _qwen3_5(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    return Case(f"qwen3_5-{name}", "Qwen3_5TextConfig", _COMMON | _DELTA | changes, tasks)


def _qwen3_5_moe(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    common = {key: value for key, value in _COMMON.items() if key != "intermediate_size"}
    settings = common | _DELTA | _EXPERTS | changes
    return Case(f"qwen3_5_moe-{name}", "Qwen3_5MoeTextConfig", settings, tasks)


def _lfm2(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {"layer_types": ["conv", "full_attention"], "block_multiple_of": 16}
    return Case(f"lfm2-{name}", "Lfm2Config", _COMMON | own | changes, tasks)


def _granite(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {
        "layer_types": _BOTH,
        "mamba_n_heads": 4,
        "mamba_d_state": 8,
        "num_local_experts": 4,
        "shared_intermediate_size": 40,
        "embedding_multiplier": 1.5,
        "residual_multiplier": 0.7,
        "attention_multiplier": 0.3,
        "logits_scaling": 2.0,
    }
    return Case(
        f"granitemoehybrid-{name}", "GraniteMoeHybridConfig", _COMMON | own | changes, tasks
    )


def _falcon_h1(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {"mamba_d_ssm": 48, "mamba_n_heads": 4, "mamba_d_state": 8, "pad_token_id": 0}
    return Case(f"falcon_h1-{name}", "FalconH1Config", _COMMON | own | changes, tasks)


def _jamba(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {
        "num_experts": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_d_state": 8,
    }
    return Case(f"jamba-{name}", "JambaConfig", _COMMON | own | changes, tasks)


def _minimax(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    settings = _COMMON | {"num_local_experts": 4} | changes
    # Decoding step by step theirs count positions by the first layer's keys: it may have none.
    counts = settings.get("layer_types", ["full_attention"])[0] == "full_attention"
    return Case(
        f"minimax-{name}",
        "MiniMaxConfig",
        settings,
        tasks,
        attends=False,  # theirs record the states of lightning attention as weights
        their_cache=counts,
        derived=r"slope_rate|_decay",
    )


CASES: list[Case] = [
    _next("plain", DECODER_TASKS),
    _next(
        "dense-between",
        num_hidden_layers=3,
        layer_types=None,
        full_attention_interval=2,
        mlp_only_layers=[1],
        initializer_range=0.1,
        linear_num_key_heads=4,
        linear_key_head_dim=16,
        linear_conv_kernel_dim=2,
        **_BALANCED,
    ),
    _qwen3_5("plain", _TEXTS),
    _qwen3_5(
        "media",  # positions as those that read images have them
        attention_bias=True,
        linear_num_key_heads=4,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.5,
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
        },
    ),
    _qwen3_5_moe("plain", ("causal-lm", "embedding")),
    _qwen3_5_moe("balanced", num_experts_per_tok=1, **_BALANCED),
    _lfm2("plain", ("causal-lm", "embedding")),
    # Theirs gate the bias of the first linear at padding too, and convolve it.
    _lfm2(
        "biases",
        num_hidden_layers=3,
        layer_types=None,
        full_attn_idxs=[1],
        conv_bias=True,
        conv_L_cache=4,
        block_ffn_dim_multiplier=1.3,
        tie_word_embeddings=False,
    ),
    _lfm2("plain-width", block_auto_adjust_ff_dim=False, layer_types=["full_attention", "conv"]),
    _granite("plain", ("causal-lm", "embedding")),
    _granite(
        "rotary",
        position_embedding_type="rope",
        attention_bias=True,
        mamba_n_groups=2,
        mamba_chunk_size=5,
        mamba_proj_bias=True,
        **_BALANCED,
    ),
    _granite("dense", num_local_experts=0, num_experts_per_tok=0, mamba_conv_bias=False),
    _falcon_h1("plain", ("causal-lm", "embedding")),
    _falcon_h1("normed", mamba_rms_norm=True, mamba_n_groups=2, attention_bias=True, **_FACTORS),
    _falcon_h1(
        "gated-first",
        mamba_rms_norm=True,
        mamba_norm_before_gate=False,
        mamba_d_ssm=None,
        projectors_bias=True,
        mlp_bias=True,
        mamba_chunk_size=5,
    ),
    _jamba("plain", _TEXTS),
    _jamba("biases", mamba_proj_bias=True, mamba_conv_bias=False, mamba_dt_rank=3, num_experts=1),
    _jamba(
        "experts-first",
        num_hidden_layers=3,
        expert_layer_offset=0,
        attn_layer_period=3,
        mamba_expand=3,
        mamba_d_conv=2,
        **_BALANCED,
    ),
    _minimax("plain", DECODER_TASKS),
    _minimax(
        "factors",
        num_hidden_layers=3,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        block_size=5,
        head_dim=16,
        full_attn_alpha_factor=1.2,
        full_attn_beta_factor=0.8,
        linear_attn_alpha_factor=1.4,
        linear_attn_beta_factor=0.7,
        mlp_alpha_factor=0.9,
        mlp_beta_factor=1.3,
        **_BALANCED,
    ),
]
