"""Decoders from before Llama."""

from __future__ import annotations

from tfcli.models.families.heads import DECODER_HEADS, ENCODER_HEADS, family
from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = (
    family(
        "gpt2",
        "GPT2",
        "decoder",
        DECODER_HEADS | {"token-classification": ENCODER_HEADS["token-classification"]},
        config="gpt2:GPT2Config",
        backbone="gpt2:GPT2Model",
        names={"causal-lm": "GPT2LMHeadModel"},
        features=("learned positions",),
    ),
)
