"""Decoders of Llama's shape."""

from __future__ import annotations

from tfcli.models.families.heads import DECODER_HEADS, family
from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = (
    family(
        "llama",
        "Llama",
        "decoder",
        DECODER_HEADS,
        config="llama:LlamaConfig",
        backbone="llama:LlamaModel",
        features=("rotary in all scalings", "grouped queries"),
    ),
)
