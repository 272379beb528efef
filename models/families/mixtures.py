"""Decoders with a mixture of experts."""

from __future__ import annotations

from tfcli.models.families.heads import DECODER_HEADS, NOT_FP16, NOT_HALF, family, only
from tfcli.models.family import Family

_CLASSIFIERS = ("sequence-classification", "token-classification")

FAMILIES: tuple[Family, ...] = (
    family(
        "mixtral",
        "Mixtral",
        "decoder",
        DECODER_HEADS,
        config="mixtral:MixtralConfig",
        backbone="mixtral:MixtralModel",
        features=("mixture of experts", "sliding window"),
    ),
    family(
        "qwen2_moe",
        "Qwen2Moe",
        "decoder",
        DECODER_HEADS,
        config="qwen2_moe:Qwen2MoeConfig",
        backbone="qwen2_moe:Qwen2MoeModel",
        features=("mixture of experts in some layers", "gated shared expert", "sliding window"),
    ),
    family(
        "qwen3_moe",
        "Qwen3Moe",
        "decoder",
        DECODER_HEADS,
        config="qwen3_moe:Qwen3MoeConfig",
        backbone="qwen3_moe:Qwen3MoeModel",
        features=("mixture of experts in some layers", "norms of queries and keys"),
    ),
    family(
        "olmoe",
        "Olmoe",
        "decoder",
        only(DECODER_HEADS, "causal-lm", "embedding"),
        config="olmoe:OlmoeConfig",
        backbone="olmoe:OlmoeModel",
        features=("mixture of experts", "norms of queries and keys", "clipped attention"),
    ),
    family(
        "deepseek_v3",
        "DeepseekV3",
        "decoder",
        only(DECODER_HEADS, "causal-lm", *_CLASSIFIERS, "embedding"),
        config="deepseek_v3:DeepseekV3Config",
        backbone="deepseek_v3:DeepseekV3Model",
        features=("latent attention", "mixture of experts in groups", "shared experts"),
        keep_fp32={r"e_score_correction_bias$": NOT_HALF},
    ),
    family(
        "gpt_oss",
        "GptOss",
        "decoder",
        only(DECODER_HEADS, "causal-lm", *_CLASSIFIERS, "embedding"),
        config="gpt_oss:GptOssConfig",
        backbone="gpt_oss:GptOssModel",
        features=("mixture of experts", "attention sinks", "alternating windows"),
        keep_fp32={r"norm\.weight$": NOT_FP16},
    ),
)
