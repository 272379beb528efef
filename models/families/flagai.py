"""FlagAI's own architectures."""

from __future__ import annotations

from tfcli.models.families.entry import DECODER_HEADS, family, only

FLAGAI = (
    family(
        "glm",
        "GLM",
        "decoder",
        {
            **only(DECODER_HEADS, "causal-lm"),
            "sequence-classification": "text.glm:GLMSequenceClassification",
        },
        "bidirectional prefix",
        "two position tables",
        "blank infilling",
        names={"causal-lm": "GLMForConditionalGeneration"},
        aliases={"GLMModel": "causal-lm", "GLMForSeq2Seq": "causal-lm"},
    ),
)
