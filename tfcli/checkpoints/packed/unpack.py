"""A checkpoint whose packed weights come out dense, whatever the packing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.models.layouts.registry import packs_tables, runs_packed
from tfcli.models.layouts.torchao_header import without_told

if TYPE_CHECKING:
    from torch import Tensor

PACKINGS = {
    "gptq": "tfcli.checkpoints.packed.linears",
    "awq": "tfcli.checkpoints.packed.linears",
    "bitsandbytes": "tfcli.checkpoints.packed.linears",
    "hqq": "tfcli.checkpoints.packed.linears",
    "fp8": "tfcli.checkpoints.packed.fp8",
    "fbgemm_fp8": "tfcli.checkpoints.packed.fp8",
    "torchao": "tfcli.checkpoints.packed.linears",
    "quanto": "tfcli.checkpoints.packed.linears",
    "aqlm": "tfcli.checkpoints.packed.linears",
    "eetq": "tfcli.checkpoints.packed.linears",
    "auto-round": "tfcli.checkpoints.packed.linears",
    "compressed-tensors": "tfcli.checkpoints.packed.linears",
    "mlx": "tfcli.checkpoints.packed.linears",
    "mxfp4": "tfcli.checkpoints.packed.mxfp4",
}
"""quant_method -> the module that unpacks it."""

# Endings of names that only packed weights have, for folders whose config says nothing of them.
_SHOWN_BY = {".weight_scale_inv": "fp8", ".weight_scale": "fp8", "_proj_blocks": "mxfp4"}
_NEEDS_SETTINGS = (".qweight", "._weight_qdata", ".weight._data", ".weight._data._data")
_WIDENED = "8-bit floats without scales widened"


@dataclass(frozen=True)
class Unpacked:
    """What takes the place of packed tensors.

    Args:
        tensors: dense ones, by name.
        parts: the stored tensors that they are made of.
        bits: width of the packed values, for each dense tensor.
    """

    tensors: dict[str, TensorEntry]
    parts: frozenset[str]
    bits: dict[str, list[int]]


def method_of(checkpoint: Checkpoint) -> str:
    """The quant_method that a checkpoint names, or that its tensors show; empty for a dense one.

    Raises:
        WorkError: weights are packed in a way that only settings tell, and there are none.
    """
    settings = checkpoint.config.get("quantization_config")
    if isinstance(settings, Mapping):
        return str(settings.get("quant_method"))
    for name in checkpoint.tensors if checkpoint.config else ():
        if name.endswith(_NEEDS_SETTINGS):
            raise WorkError(
                f"weights are packed ({short(name)}), and nothing says in how many bits and groups",
                where=str(checkpoint.path),
                fix="put quantization_config into config.json, or quantize_config.json or "
                "quanto_qmap.json into the folder, as they are where the checkpoint comes from",
            )
        for ending, method in _SHOWN_BY.items():
            if name.endswith(ending):
                return method
    return ""


def find_unpacked(checkpoint: Checkpoint, exact: Callable[[str], bool]) -> Unpacked:
    """The dense tensors of a quantized checkpoint; headers are read, and what must be checked.

    Args:
        checkpoint: with packed weights.
        exact: of which tensors the values come out as float32, in which they are exact; of the
            others in bfloat16, rounded once.

    Raises:
        WorkError: a packing that is not read, or tensors that do not fit the config.
    """
    method = method_of(checkpoint)
    if method not in PACKINGS:
        raise WorkError(
            f"quant_method: {method!r} is not supported",
            where=f"{checkpoint.path / CONFIG}, quantization_config",
            fix=f"supported: {', '.join(PACKINGS)}; others are only copied as they are stored",
        )
    found: Unpacked = import_module(PACKINGS[method]).unpacked(checkpoint, exact)
    return found


def unpacked(checkpoint: Checkpoint, exact: Callable[[str], bool]) -> Checkpoint:
    """A checkpoint that is dense: the packed tensors are made when they are read.

    Raises:
        WorkError: as `find_unpacked` and `with_unpacked`.
    """
    return with_unpacked(checkpoint, find_unpacked(checkpoint, exact))


def with_unpacked(checkpoint: Checkpoint, found: Unpacked) -> Checkpoint:
    """The checkpoint with dense tensors in the place of packed ones.

    Raises:
        WorkError: a weight is there packed and dense.
    """
    from tfcli.checkpoints.family_names import in_family_names

    kept = {name: t for name, t in checkpoint.tensors.items() if name not in found.parts}
    twice = next((name for name in found.tensors if name in kept), None)
    if twice is not None:
        raise WorkError(f"{twice} is there packed and dense", where=str(checkpoint.path))
    return in_family_names(
        replace(
            checkpoint,
            tensors={**kept, **found.tensors},
            config=without_packing(checkpoint.config),
            metadata=without_told(checkpoint.metadata),
        )
    )


def runnable(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint that the model core runs: packings that it has no kernel for come out dense."""
    method = method_of(checkpoint)
    if not method:
        return widened(checkpoint)
    settings = checkpoint.config.get("quantization_config") or {}
    if method not in PACKINGS or (runs_packed(method) and not packs_tables(settings)):
        return checkpoint
    dense = unpacked(checkpoint, lambda name: False)
    said = f"the weights are packed ({method}) and run dequantized, in bfloat16"
    return replace(dense, notes=(*dense.notes, said))


def widened(checkpoint: Checkpoint) -> Checkpoint:
    """A dense checkpoint whose 8-bit floats, which have no scales, are bfloat16: exactly so."""
    tensors = {
        name: replace(tensor, dtype="BF16", how=_WIDENED, read=partial(_wide, tensor))
        for name, tensor in checkpoint.tensors.items()
        if tensor.dtype in ("F8_E4M3", "F8_E5M2")
    }
    return replace(checkpoint, tensors={**checkpoint.tensors, **tensors}) if tensors else checkpoint


def _wide(tensor: TensorEntry) -> Tensor:
    import torch

    return tensor.read().to(torch.bfloat16)


def without_packing(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of dense weights."""
    return {key: value for key, value in config.items() if key != "quantization_config"}


def dense_code(name: str, exact: Callable[[str], bool]) -> str:
    """The type in which a tensor of which nothing else is asked comes out."""
    return "F32" if exact(name) else "BF16"


def sources(parts: Iterable[str], checkpoint: Checkpoint) -> tuple[str, ...]:
    """The stored tensors behind some of a checkpoint's."""
    return tuple(s for part in parts for s in checkpoint.tensors[part].sources)
