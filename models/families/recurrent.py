"""Models with a state in the place of attention, or beside it."""

from __future__ import annotations

from tfcli.models.families.entry import DECODER_HEADS, LM_ALONE, NOT_FP16, TEXTS, family

RECURRENT = (
    family("mamba", "Mamba", "recurrent", LM_ALONE, "selective state space"),
    family(
        "mamba2",
        "Mamba2",
        "recurrent",
        LM_ALONE,
        "state space with one decay a head",
        config="mamba:Mamba2Config",
    ),
    family(
        "rwkv",
        "Rwkv",
        "recurrent",
        LM_ALONE | {"causal-lm": "text.rwkv:RwkvCausalLM"},
        "attention as a running average",
        keep_fp32={r"time_(decay|first)$": NOT_FP16},
    ),
)
HYBRIDS = (
    family(
        "qwen3_next",
        "Qwen3Next",
        "decoder",
        DECODER_HEADS,
        "gated delta networks",
        "gated attention",
        "mixture of experts in some layers",
        "gated shared expert",
    ),
    family(
        "qwen3_5_text",
        "Qwen3_5Text",
        "decoder",
        TEXTS,
        "gated delta networks",
        "gated attention",
        config="qwen3_5:Qwen35TextConfig",
        backbone="qwen3_5:Qwen35TextModel",
        names={"causal-lm": "Qwen3_5ForCausalLM"},
    ),
    family(
        "qwen3_5_moe_text",
        "Qwen3_5MoeText",
        "decoder",
        LM_ALONE,
        "gated delta networks",
        "gated attention",
        "mixture of experts",
        "gated shared expert",
        config="qwen3_5:Qwen35MoeTextConfig",
        backbone="qwen3_5:Qwen35MoeTextModel",
        names={"causal-lm": "Qwen3_5MoeForCausalLM"},
    ),
    family(
        "lfm2",
        "Lfm2",
        "decoder",
        LM_ALONE,
        "short convolutions in some layers",
        "norms of queries and keys",
    ),
    family(
        "granitemoehybrid",
        "GraniteMoeHybrid",
        "decoder",
        LM_ALONE,
        "state spaces in most layers",
        "mixture of experts beside an mlp",
        "factors on embeddings, scores, residuals and logits",
    ),
    family(
        "falcon_h1",
        "FalconH1",
        "decoder",
        LM_ALONE,
        "state spaces beside attention",
        "factors on inputs, outputs and logits",
    ),
    family(
        "jamba",
        "Jamba",
        "decoder",
        TEXTS,
        "selective state spaces in most layers",
        "mixture of experts in some layers",
        "no positions",
    ),
    family(
        "minimax",
        "MiniMax",
        "decoder",
        DECODER_HEADS,
        "lightning attention in some layers",
        "mixture of experts",
        "factors on residuals",
    ),
)
