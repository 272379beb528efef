"""Decoders with a mixture of experts."""

from __future__ import annotations

from typing import Any

from tests.models.case import DECODER_TASKS, Case

_CLASSIFIERS = ("causal-lm", "sequence-classification", "token-classification", "embedding")
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
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 5e3,
    "factor": 4.0,
    "original_max_position_embeddings": 8,
}


_MSCALE = {"mscale": 0.8, "mscale_all_dim": 0.5}


def _mixtral(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    settings = _COMMON | {"num_local_experts": 4, "num_experts_per_tok": 2}
    return Case(f"mixtral-{name}", "MixtralConfig", settings | changes, tasks)


def _qwen2(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 20,
    }
    return Case(f"qwen2_moe-{name}", "Qwen2MoeConfig", _COMMON | own | changes, tasks)


def _qwen3(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    return Case(f"qwen3_moe-{name}", "Qwen3MoeConfig", _COMMON | own | changes, tasks)


def _olmoe(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {"num_experts": 4, "num_experts_per_tok": 2, "eos_token_id": 2}
    return Case(f"olmoe-{name}", "OlmoeConfig", _COMMON | own | changes, tasks)


def _deepseek(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {
        "num_key_value_heads": 4,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_group": 4,
        "topk_group": 2,
        "moe_intermediate_size": 24,
        "first_k_dense_replace": 1,
        "q_lora_rank": 12,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 6,
        "v_head_dim": 8,
    }
    return Case(f"deepseek_v3-{name}", "DeepseekV3Config", _COMMON | own | changes, tasks)


def _gpt_oss(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    own = {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 8,
        "sliding_window": 5,
        "rope_parameters": _YARN | {"truncate": False},
        "swiglu_limit": 1.0,  # low enough to clamp
    }
    return Case(
        f"gpt_oss-{name}",
        "GptOssConfig",
        _COMMON | own | changes,
        tasks,
        attention="eager",
        refuses=("flash",),
    )


_BALANCED = {"output_router_logits": True, "router_aux_loss_coef": 0.5}
CASES: list[Case] = [
    _mixtral("plain", DECODER_TASKS),
    _mixtral("one-expert", num_experts_per_tok=1, num_key_value_heads=4),
    _mixtral("window", sliding_window=5, head_dim=16, hidden_act="gelu"),
    _mixtral("balanced", tie_word_embeddings=True, **_BALANCED),
    _qwen2("plain", DECODER_TASKS),
    _qwen2("dense-between", num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[1]),
    _qwen2(
        "windows",
        num_hidden_layers=4,
        use_sliding_window=True,
        sliding_window=5,
        max_window_layers=3,
        norm_topk_prob=True,
        qkv_bias=False,
    ),
    _qwen2("balanced", num_hidden_layers=3, decoder_sparse_step=2, **_BALANCED),
    _qwen3("plain", DECODER_TASKS),
    _qwen3("wide-heads", head_dim=16, norm_topk_prob=True, attention_bias=True),
    _qwen3("dense-first", num_hidden_layers=3, mlp_only_layers=[0], **_BALANCED),
    _qwen3("window", use_sliding_window=True, sliding_window=5),
    _olmoe("plain", ("causal-lm", "embedding")),
    _olmoe("clipped", clip_qkv=0.7, norm_topk_prob=True, attention_bias=True, **_BALANCED),
    _deepseek("plain", _CLASSIFIERS),
    _deepseek("no-query-rank", q_lora_rank=None, norm_topk_prob=False, n_shared_experts=2),
    _deepseek("one-group", n_group=1, topk_group=1, attention_bias=True, rope_interleave=False),
    _deepseek(
        "yarn",
        first_k_dense_replace=0,
        rope_parameters=_YARN | _MSCALE,
    ),
    _gpt_oss("plain", _CLASSIFIERS),
    _gpt_oss("full", layer_types=["full_attention"] * 2, attention_bias=False),
    _gpt_oss("alternating", num_hidden_layers=4, swiglu_alpha=1.0, swiglu_limit=7.0, **_BALANCED),
]


def _like(
    config: str, name: str, tasks: tuple[str, ...] = ("causal-lm", "embedding"), **changes: Any
) -> Case:
    """A family's config at the sizes that all share."""
    return Case(name, config, _COMMON | changes, tasks)


_DEEPSEEK2 = {
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "q_lora_rank": 12,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 6,
    "v_head_dim": 8,
    "routed_scaling_factor": 1.5,
}
_LIMITED = {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}
_GLM4 = {
    "hidden_size": 64,  # a head is to have parts that are turned and that are not
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}
_ERNIE = {
    "num_hidden_layers": 3,
    "moe_num_experts": 4,
    "moe_k": 2,
    "moe_intermediate_size": 24,
}
_GRANITE = {
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.4,
    "logits_scaling": 1.7,
}
_LLAMA4 = {
    "num_hidden_layers": 4,
    "head_dim": 8,
    "intermediate_size_mlp": 40,
    "num_local_experts": 4,
    "no_rope_layer_interval": 2,
    "attention_chunk_size": 5,
    "floor_scale": 4,
}
CASES += [
    _like(
        "DeepseekV2Config",
        "deepseek_v2-plain",
        ("causal-lm", "sequence-classification", "embedding"),
        **_DEEPSEEK2,
        **_LIMITED,
    ),
    _like(
        "DeepseekV2Config",
        "deepseek_v2-greedy",
        ("causal-lm",),
        **_DEEPSEEK2 | {"q_lora_rank": None, "attention_bias": True, "mlp_bias": True},
        rope_parameters=_YARN | _MSCALE,
    ),
    _like("Glm4MoeConfig", "glm4_moe-plain", **_GLM4, n_group=4, topk_group=2),
    _like(
        "Glm4MoeConfig",
        "glm4_moe-norms",
        ("causal-lm",),
        **_GLM4,
        head_dim=8,
        use_qk_norm=True,
        attention_bias=True,
        first_k_dense_replace=0,
        n_shared_experts=2,
        norm_topk_prob=False,
        routed_scaling_factor=1.5,
        partial_rotary_factor=1.0,
    ),
    _like("Ernie4_5_MoeConfig", "ernie4_5_moe-plain", **_ERNIE),
    _like(
        "Ernie4_5_MoeConfig",
        "ernie4_5_moe-alone",
        ("causal-lm",),
        **_ERNIE,
        **_BALANCED,
        moe_num_shared_experts=0,
        moe_layer_start_index=0,
        moe_layer_end_index=1,
        moe_layer_interval=2,
        moe_norm_min=0.9,  # large enough to count
        use_bias=True,
        tie_word_embeddings=False,
    ),
    _like("GraniteMoeConfig", "granitemoe-plain", **_GRANITE),
    _like(
        "GraniteMoeConfig",
        "granitemoe-balanced",
        ("causal-lm",),
        **_GRANITE,
        **_BALANCED,
        attention_bias=True,
        tie_word_embeddings=True,
    ),
    _like(
        "GraniteMoeSharedConfig",
        "granitemoeshared-plain",
        **_GRANITE,
        shared_intermediate_size=20,
    ),
    _like("Llama4TextConfig", "llama4_text-plain", **_LLAMA4),
    _like(
        "Llama4TextConfig",
        "llama4_text-some",
        ("causal-lm",),
        **_LLAMA4,
        interleave_moe_layer_step=2,
        num_experts_per_tok=2,
        use_qk_norm=False,
        attn_temperature_tuning=False,
        attention_bias=True,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 5e3,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 1.0,  # Scout's have no passage either
            "original_max_position_embeddings": 8,
        },
        layer_types=["chunked_attention", "chunked_attention", "full_attention", "full_attention"],
    ),
]
