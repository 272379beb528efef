"""Which type a tensor gets when the weights of a checkpoint are cast: one rule for every verb."""

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
    """The dtype code that each tensor is to have; see `target_dtype`.

    Args:
        source: the view of the checkpoint, dense where a type is wanted.
        wanted: a code such as `BF16`, or None to keep every type.
    """
    return {
        info.name: target_dtype(source.config, info.name, info.dtype, wanted) for info in source
    }


def target_dtype(config: Mapping[str, Any], name: str, code: str, wanted: str | None) -> str:
    """The dtype code that a tensor of the type `code` gets when weights are cast to `wanted`.

    Floating-point tensors are cast, but to fp32 those that the family keeps in it; one that has the
    type already stays. Integers and booleans stay, and so do types below 8 bits, which are packed.

    Args:
        config: content of config.json.
        name: of the tensor.
        code: such as `F32`.
        wanted: such as `BF16`, or None to keep every type.
    """
    if wanted is None or code not in _CAST or code == wanted:
        return code
    family = _family(config)
    if family is None or family.cast_to(name, TORCH_NAMES[wanted]) != "float32":
        return wanted
    return "F32"


def _family(config: Mapping[str, Any]) -> Family | None:
    """The family of a config.json; None if it is not known, so that nothing is known of it."""
    from tfcli.models.registry import get_family

    model_type = config.get("model_type")
    try:
        return get_family(model_type) if isinstance(model_type, str) else None
    except ModelError:
        return None
