"""Decoders from before rotary positions were usual, and what grew from these."""

from __future__ import annotations

from tfcli.models.families.entry import EARLIER, LM_ALONE, NO_TOKENS, TEXTS, but, family

EARLIER_DECODERS = (
    family(
        "gpt2",
        "GPT2",
        "decoder",
        EARLIER,
        "learned positions",
        names={"causal-lm": "GPT2LMHeadModel"},
    ),
    family(
        "gpt_neo",
        "GPTNeo",
        "decoder",
        EARLIER,
        "learned positions",
        "a window in every second layer",
    ),
    family(
        "gptj",
        "GPTJ",
        "decoder",
        NO_TOKENS,
        "interleaved rotary in a part of each head",
        "parallel blocks",
    ),
    family(
        "gpt_neox",
        "GPTNeoX",
        "decoder",
        EARLIER,
        "rotary in a part of each head",
        "parallel residual",
    ),
    family(
        "gpt_bigcode",
        "GPTBigCode",
        "decoder",
        but(EARLIER, "question-answering"),
        "learned positions",
        "multi-query attention",
        aliases={"GPTBigCodeLMHeadModel": "causal-lm"},
    ),
    family(
        "codegen",
        "CodeGen",
        "decoder",
        LM_ALONE,
        "interleaved rotary in a part of each head",
        "parallel blocks",
    ),
    family("bloom", "Bloom", "decoder", EARLIER, "ALiBi", "norm of embeddings"),
    family(
        "opt",
        "OPT",
        "decoder",
        NO_TOKENS,
        "learned positions",
        "norms before or after",
        "narrow embeddings",
    ),
    family(
        "falcon",
        "Falcon",
        "decoder",
        EARLIER,
        "rotary or ALiBi",
        "grouped-query attention",
        "parallel blocks",
    ),
    family("mpt", "Mpt", "decoder", EARLIER, "ALiBi", "no biases"),
    family(
        "ctrl",
        "CTRL",
        "decoder",
        TEXTS,
        "sinusoidal positions",
        "codes in front of a text",
        names={"causal-lm": "CTRLLMHeadModel"},
    ),
)
