"""Which families exist and where their code is. Importing this imports no torch.

A family of your own is registered with `register(Family(...))`, or by an installed package with
an entry point of the group `tfcli.families`, whose name is the model_type.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from tfcli.models.config_values import WHERE
from tfcli.models.errors import ModelError, hint
from tfcli.models.families import FAMILIES as BUILT_IN
from tfcli.models.families import PARTS as BUILT_IN_PARTS
from tfcli.models.family import Family

if TYPE_CHECKING:
    from tfcli.models.config import BaseConfig

FAMILIES: dict[str, Family] = {}
PARTS = {part.model_type: part for part in BUILT_IN_PARTS}


ENTRY_POINTS = "tfcli.families"


def register(family: Family) -> Family:
    """Make a family known by its model_type.

    Raises:
        ModelError: not a Family, or another one has its model_type.
    """
    if not isinstance(family, Family):
        raise ModelError(
            f"only a Family can be registered, not {type(family).__name__}",
            fix="from tfcli.models.family import Family",
        )
    known = FAMILIES.get(family.model_type, PARTS.get(family.model_type))
    if known is not None and known != family:
        raise ModelError(
            f"there is a family {family.model_type!r} already",
            fix="give yours a model_type of its own, in config.json too",
        )
    FAMILIES[family.model_type] = family
    return family


for _family in BUILT_IN:
    register(_family)


def _installed(model_type: str) -> Family | None:
    """The family that an installed package offers under this name. Only its code is imported."""
    for point in entry_points(group=ENTRY_POINTS, name=model_type):
        family = register(point.load())
        if family.model_type != model_type:
            raise ModelError(
                f"the entry point {model_type!r} gives the family {family.model_type!r}",
                where=point.value,
                fix="name the entry point after the model_type",
            )
        return family
    return None


def get_family(model_type: str) -> Family:
    """The family of a model_type.

    Raises:
        ModelError: it is not known; the message lists those that are, and the nearest.
    """
    if model_type in PARTS:
        return PARTS[model_type]
    if model_type not in FAMILIES and _installed(model_type) is None:
        raise ModelError(
            f"unknown model_type {model_type!r}",
            where="config.json, key model_type",
            fix=hint(model_type, FAMILIES),
        )
    return FAMILIES[model_type]


def read_config(data: Mapping[str, Any]) -> BaseConfig:
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
    if "auto_map" in data and model_type not in FAMILIES and _installed(model_type) is None:
        raise ModelError(
            f"{model_type!r} is no family that is built in, and the Python code that the "
            "checkpoint brings along (auto_map) is never run",
            where="config.json, key auto_map",
            fix="register the family in a file that you have read: --family-file FILE.py "
            "(docs/own-families.md)",
        )
    family = get_family(model_type)
    _refuse_bidirectional(family, data)
    return family.config_class().from_dict(data)


def _refuse_bidirectional(family: Family, data: Mapping[str, Any]) -> None:
    """Refuse a decoder whose config takes its causal mask away, as one of transformers 5 can.

    In an encoder the key says nothing new. A family that builds it has a field of that name.
    """
    key = "is_causal"
    if family.kind not in ("decoder", "encoder-decoder") or data.get(key) in (True, None):
        return
    known = family.config_class().keys()
    if key not in known:
        raise ModelError(
            f"{key}={data[key]!r} is not supported for {family.model_type}",
            where=f"{WHERE}, key {key}",
            fix="supported: True, None",
        )
