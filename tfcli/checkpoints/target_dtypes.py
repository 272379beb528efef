"""Which type each tensor of a conversion is to have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.io.dtypes import FLOATS, TORCH_NAMES
from tfcli.errors import ModelError

if TYPE_CHECKING:
    from tfcli.models.family import Family


def target_dtypes(
    source: Checkpoint, wanted: str | None, quantization: Mapping[str, Any] | None
) -> dict[str, str]:
    """The dtype code that each tensor is to have.

    Plain floating-point tensors are cast, but those to fp32 that the family keeps in it. Integers,
    booleans and 8-bit floats stay, and so do, in a quantized checkpoint, the scales and other
    numbers that belong to a quantized tensor: those in the same module (`x.scales` beside
    `x.qweight`) and those below it (`x.weight.absmax`).

    Args:
        source: the view of the checkpoint.
        wanted: a code such as `BF16`, or None to keep every type.
        quantization: the config's quantization_config.
    """
    packed = {info.name for info in source if info.dtype not in FLOATS}
    owners = {name.rpartition(".")[0] for name in packed} | packed if quantization else set()
    family = _family(source.config)
    targets = {}
    for info in source:
        targets[info.name] = info.dtype
        plain = info.dtype in FLOATS and info.name.rpartition(".")[0] not in owners
        if plain and wanted is not None and info.dtype != wanted:
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
