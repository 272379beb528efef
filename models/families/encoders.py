"""Encoders."""

from __future__ import annotations

from tfcli.models.families.heads import ENCODER_HEADS, family
from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = (
    family(
        "bert",
        "Bert",
        "encoder",
        {"masked-lm": "tfcli.models.text.bert:BertMaskedLM", **ENCODER_HEADS},
        config="bert:BertConfig",
        backbone="bert:BertModel",
        aliases={"BertForPreTraining": "masked-lm"},
        features=("learned positions", "segments"),
    ),
)
