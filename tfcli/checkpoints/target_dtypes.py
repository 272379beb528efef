"""Which type each tensor of a conversion is to have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.io.dtypes import FLOATS, TORCH_NAMES
from tfcli.errors import ModelError

if TYPE_CHECKING:
    from tfcli.models.family import Family

_CAST = (*FLOATS, "F8_E4M3", "F8_E5M2")


def target_dtypes(source: Checkpoint, wanted: str | None) -> dict[str, str]:
    """The dtype code that each tensor is to have.

    Floating-point tensors are cast, but those to fp32 that the family keeps in it. Integers and
    booleans stay, and so do types below 8 bits, which are packed.

    Args:
        source: the view of the checkpoint, dense where a type is wanted.
        wanted: a code such as `BF16`, or None to keep every type.
    """
    family = _family(source.config)
    targets = {}
    for info in source:
        targets[info.name] = info.dtype
        if info.dtype in _CAST and wanted is not None and info.dtype != wanted:
            stays = family is not None and family.stays_fp32(info.name, TORCH_NAMES[wanted])
            targets[info.name] = "F32" if stays else wanted
    return targets


def _family(config: Mapping[str, Any]) -> Family | None:
    """The family of a config.json; None if it is not known, so that nothing is known of it."""
    from tfcli.models.registry import get_family

    model_type = config.get("model_type")
    try:
        return get_family(model_type) if isinstance(model_type, str) else None
    except ModelError:
        return None
