"""The rules of a checkpoint's family, for verbs that map names without building the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfcli.errors import ModelError

if TYPE_CHECKING:
    from tfcli.models.rules import Rule


def family_rules(config: Mapping[str, Any]) -> tuple[Sequence[Rule], str] | None:
    """The rules between parameters and stored tensors, and the prefix of the body's names.

    None for a family that is not known, or a config that is not supported: then stored names and
    orientations are all that is known.
    """
    from tfcli.models.registry import get_family, read_config

    try:
        parsed = read_config(config)
        family = get_family(parsed.model_type)
        model_class = family.model_class(family.task_of(parsed.architectures))
    except ModelError:
        return None
    return model_class.rules_of(parsed), f"{model_class.base()}."
