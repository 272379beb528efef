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
