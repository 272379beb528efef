"""Which families exist and where their code is. Importing this imports no torch.

A family of your own is registered with `register(Family(...))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfcli.models.errors import ModelError, hint
from tfcli.models.families import (
    decoders,
    earlier,
    encoders,
    flagai,
    mixtures,
    recurrent,
    seq2seq,
)
from tfcli.models.family import Family

if TYPE_CHECKING:
    from tfcli.models.config import ModelConfig

FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Make a family known by its model_type."""
    FAMILIES[family.model_type] = family
    return family


for _group in (decoders, mixtures, earlier, recurrent, encoders, seq2seq, flagai):
    for _family in _group.FAMILIES:
        register(_family)


def get_family(model_type: str) -> Family:
    """The family of a model_type.

    Raises:
        ModelError: it is not known; the message lists those that are, and the nearest.
    """
    if model_type not in FAMILIES:
        raise ModelError(
            f"unknown model_type {model_type!r}",
            where="config.json, key model_type",
            fix=hint(model_type, FAMILIES),
        )
    return FAMILIES[model_type]


def read_config(data: Mapping[str, Any]) -> ModelConfig:
    """The family's config from the content of a config.json.

    Raises:
        ModelError: no or an unknown model_type, or a value that the family refuses.
    """
    model_type = data.get("model_type")
    if not isinstance(model_type, str):
        raise ModelError(
            "the config has no model_type",
            where="config.json",
            fix=f"add model_type, one of: {', '.join(sorted(FAMILIES))}",
        )
    return get_family(model_type).config_class().from_dict(data)
