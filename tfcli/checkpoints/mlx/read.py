"""MLX folders: Hugging Face's names, with weights in groups of affine-quantized integers.

A quantized weight `x.weight` is packed into 32-bit words along its inputs, the first value in the
lowest bits; `x.scales` and `x.biases` hold one number for each group: value = scale * level + bias.
Source: https://github.com/ml-explore/mlx (`mlx.core.quantize`, mode `affine`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.hf.read import as_stored
from tfcli.checkpoints.hf.source import TensorSource, open_tensors
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

BITS = (2, 3, 4, 5, 6, 8)
_PIECE = 1 << 22  # values that are unpacked at a time


@dataclass(frozen=True)
class Packing:
    """How a weight is packed: bits of a value, and values that share a scale."""

    bits: int
    group_size: int


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of an MLX folder: quantized weights come out as dense ones.

    Raises:
        WorkError: another quantization mode, or tensors that do not fit each other.
    """
    config = read_object(path, CONFIG)
    source = open_tensors(path)
    quantization = config.get("quantization") or {}
    tensors: dict[str, TensorEntry] = {}
    for info in source.infos():
        module, _, leaf = info.name.rpartition(".")
        if leaf in ("scales", "biases") and f"{module}.scales" in source:
            continue
        if leaf == "weight" and f"{module}.scales" in source:
            tensors[info.name] = _dense(source, module, _packing(quantization, module, path))
        else:
            tensors[info.name] = as_stored(source, info)
    plain = {k: v for k, v in config.items() if k not in ("quantization", "quantization_config")}
    files = tuple(file.path for file in source.files)
    return Checkpoint("mlx", path, plain, tensors, files, companions=path)


def _packing(quantization: Mapping[str, Any], module: str, path: Path) -> Packing:
    """The packing of one module: its own entry, or that of the whole."""
    own = quantization.get(module)
    found = {**quantization, **own} if isinstance(own, dict) else quantization
    where = f"{path / CONFIG}, key quantization"
    if found.get("mode", "affine") != "affine":
        raise WorkError(
            f"the mode {found['mode']!r} of {short(module)} is not read",
            where=where,
            fix="dequantize it with mlx_lm first",
        )
    bits, group = found.get("bits"), found.get("group_size")
    if bits not in BITS or not isinstance(group, int) or group < 1:
        raise WorkError(f"bits={bits!r}, group_size={group!r} of {short(module)}", where=where)
    return Packing(bits, group)


def _dense(source: TensorSource, module: str, packing: Packing) -> TensorEntry:
    names = tuple(f"{module}.{leaf}" for leaf in ("weight", "scales", "biases"))
    for name in names:
        if name not in source:
            raise WorkError(f"{short(name)} is missing", where=module)
    weight, scales, biases = (source.info(name) for name in names)
    rows, groups = weight.shape[:-1], scales.shape[-1:]
    columns = groups[0] * packing.group_size if groups else 0
    words = columns * packing.bits // 32
    fits = weight.dtype == "U32" and weight.shape == (*rows, words)
    fits = fits and columns * packing.bits % 32 == 0
    if not fits or scales.shape != (*rows, *groups) or biases.shape != scales.shape:
        raise WorkError(
            f"{short(names[0])} is {weight.dtype} {list(weight.shape)} with scales "
            f"{list(scales.shape)}, which {packing.bits} bits in groups of {packing.group_size} "
            "do not give",
            where=str(weight.file),
        )
    how = f"{packing.bits} bits in groups of {packing.group_size} dequantized"
    read = partial(_read, source, names, packing)
    return TensorEntry(names[0], scales.dtype, (*rows, columns), names, how, read)


def _read(source: TensorSource, names: tuple[str, ...], packing: Packing) -> Tensor:
    words, scales, biases = (source[name] for name in names)
    return dequantize(words, scales, biases, packing)


def dequantize(words: Tensor, scales: Tensor, biases: Tensor, packing: Packing) -> Tensor:
    """Unpack a weight, some rows at a time.

    Args:
        words (Tensor): [..., columns * bits / 32], uint32
        scales (Tensor): [..., groups]
        biases (Tensor): [..., groups]
        packing: bits and group size.

    Returns:
        [..., columns], in the dtype of the scales
    """
    import torch

    columns = scales.shape[-1] * packing.group_size
    out = torch.empty(*scales.shape[:-1], columns, dtype=scales.dtype).flatten(0, -2)
    packed = words.contiguous().view(torch.uint8).flatten(0, -2)
    step = max(1, _PIECE // columns)
    for start in range(0, len(out), step):
        part = slice(start, start + step)
        levels = _levels(packed[part], packing.bits).unflatten(-1, (-1, packing.group_size))
        scale, bias = (each.flatten(0, -2)[part, :, None].float() for each in (scales, biases))
        out[part] = (levels * scale + bias).flatten(-2).to(out.dtype)
    return out.unflatten(0, scales.shape[:-1])


def _levels(packed: Tensor, bits: int) -> Tensor:
    """The integers in rows of bytes, [rows, bytes] -> [rows, values], float32.

    Eight values take `bits` bytes, whatever their number of bits: they are cut out of one 64-bit
    number.
    """
    import torch

    runs = packed.unflatten(-1, (-1, bits)).long()
    places = torch.arange(bits) * 8
    number = (runs << places).sum(-1)  # at most 64 bits; the sign bit is shifted and masked below
    shifts = torch.arange(8) * bits
    return ((number[..., None] >> shifts) & ((1 << bits) - 1)).flatten(-2).float()
