"""MLX folders: Hugging Face's names, with weights in groups of affine-quantized integers.

Beside a quantized weight `x.weight` lie `x.scales` and `x.biases`, as `models/layouts/mlx.py` has
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.hf.read import as_stored
from tfcli.checkpoints.hf.source import TensorSource, open_tensors
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, WorkError

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.models.layouts.mlx import MLXPacking


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of an MLX folder: quantized weights come out as dense ones, or as they are stored
    where that is asked for.

    Raises:
        WorkError: another quantization mode, or tensors that do not fit each other.
    """
    config = read_object(path, CONFIG)
    source = open_tensors(path)
    quantization = config.get("quantization") or {}
    plain = {k: v for k, v in config.items() if k not in ("quantization", "quantization_config")}
    files = tuple(file.path for file in source.files)
    if asked.packed:
        stored = {info.name: as_stored(source, info) for info in source.infos()}
        said = {**plain, "quantization_config": {"quant_method": "mlx", **quantization}}
        return Checkpoint("mlx", path, said, stored, files, companions=path)
    tensors: dict[str, TensorEntry] = {}
    for info in source.infos():
        module, _, leaf = info.name.rpartition(".")
        if leaf in ("scales", "biases") and f"{module}.scales" in source:
            continue
        if leaf == "weight" and f"{module}.scales" in source:
            tensors[info.name] = _dense(source, module, _packing(quantization, module, path))
        else:
            tensors[info.name] = as_stored(source, info)
    return Checkpoint("mlx", path, plain, tensors, files, companions=path)


def _packing(quantization: Mapping[str, Any], module: str, path: Path) -> MLXPacking:
    """The packing of one module: its own entry, or that of the whole."""
    from tfcli.models.layouts.mlx import read_packing

    own = quantization.get(module)
    found = {**quantization, **own} if isinstance(own, Mapping) else quantization
    try:
        return read_packing(found)
    except ModelError as error:
        where = f"{path / CONFIG}, quantization of {short(module)}"
        raise WorkError(error.what, where=where, fix=error.fix) from error


def _dense(source: TensorSource, module: str, packing: MLXPacking) -> TensorEntry:
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


def _read(source: TensorSource, names: tuple[str, ...], packing: MLXPacking) -> Tensor:
    words, scales, biases = (source[name] for name in names)
    parts = {
        part: value.flatten(0, -2)
        for part, value in (("weight", words), ("scales", scales), ("biases", biases))
    }
    dense = packing.unpack(parts).dequantize(scales.dtype)
    return dense.unflatten(0, scales.shape[:-1])
