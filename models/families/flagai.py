"""Families of FlagAI."""

from __future__ import annotations

from tfcli.models.families.heads import DECODER_HEADS, family, only
from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = (
    family(
        "glm",
        "GLM",
        "decoder",
        {
            **only(DECODER_HEADS, "causal-lm"),
            "sequence-classification": "tfcli.models.text.glm:GLMSequenceClassification",
        },
        config="glm:GLMConfig",
        backbone="glm:GLMModel",
        names={"causal-lm": "GLMForConditionalGeneration"},
        aliases={"GLMModel": "causal-lm", "GLMForSeq2Seq": "causal-lm"},
        features=("bidirectional prefix", "two position tables", "blank infilling"),
    ),
)
