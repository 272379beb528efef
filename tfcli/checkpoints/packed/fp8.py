"""FP8 weights with scales (DeepSeek-V3, Qwen3-FP8): value = weight * scale of its block.

`x.weight` holds 8-bit floats and `x.weight_scale_inv` one number for each block of
`weight_block_size` rows and columns; the last blocks may be cut off. One number for each row, or
one in all, is read too, as FBGEMM writes it (`x.weight_scale`); of its stacks of experts, whose
outputs are columns, one for each column. Scales that are bytes are exponents with a bias of 127
(`scale_fmt: ue8m0`). Bytes with such a scale for each 32 values are experts of 4-bit floats
(`expert_dtype: fp4`), two in a byte. Scales of activations and caches (`x.input_scale`,
`x.k_scale`) say nothing of weights.
Source: transformers `integrations/finegrained_fp8.py` and `fbgemm_fp8.py`, DeepSeek-V3
`inference/fp8_cast_bf16.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.packed.unpack import Unpacked, dense_code, method_of, sources
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FLOATS = ("F8_E4M3", "F8_E5M2")
_EXPONENTS = ("U8", "F8_E8M0")
_SHORT = 32
"""4-bit floats that share a scale."""
_SCALES = ("_scale_inv", "_scale")
OF_INPUTS = (
    ".input_scale",
    ".input_scale_ub",
    ".activation_scale",
    ".k_scale",
    ".v_scale",
    ".q_scale",
    ".output_scale",
)
"""Ends of the names of scales of activations and caches."""
_BLOCK = (128, 128)


def unpacked(checkpoint: Checkpoint, exact: Callable[[str], bool]) -> Unpacked:
    """The dense weights of a checkpoint with quant_method fp8, or another name for the same.

    Raises:
        WorkError: a weight without a scale, or with scales of another shape; nothing is packed.
    """
    block = _block(checkpoint)
    dense: dict[str, TensorEntry] = {}
    parts = {name for name in checkpoint.tensors if name.endswith(OF_INPUTS)}
    bits = {}
    sizes_of = _sizes_of_fbgemm if method_of(checkpoint) == "fbgemm_fp8" else _sizes
    for name, tensor in checkpoint.tensors.items():
        scale = next((name + s for s in _SCALES if name + s in checkpoint.tensors), None)
        bits_of = _bits(tensor, checkpoint.tensors.get(scale or ""))
        if bits_of is None:
            continue
        if scale is None:
            raise WorkError(f"{short(name)} has no scale", where=str(checkpoint.path))
        shape = (*tensor.shape[:-1], tensor.shape[-1] * 8 // bits_of) if tensor.shape else ()
        grid = checkpoint.tensors[scale].shape
        sizes = sizes_of(shape, grid, block) if bits_of == 8 else (1, _SHORT)
        if sizes is None:
            raise WorkError(
                f"{short(scale)} is {list(grid)}, which {short(name)} of {list(shape)} in blocks "
                f"of {list(block)} does not give",
                where=str(checkpoint.path),
            )
        code = dense_code(name, exact)
        read = partial(_read, tensor, checkpoint.tensors[scale], sizes, code)
        made_of = sources((name, scale), checkpoint)
        how = f"{bits_of}-bit floats dequantized"
        held = tensor.dtype if bits_of == 8 else "F4"
        dense[name] = TensorEntry(name, code, shape, made_of, how, read, held)
        bits[name] = [bits_of]
        parts |= {name, scale}
    if not dense:
        raise WorkError(
            "the config says that weights are packed, and none is",
            where=f"{checkpoint.path / CONFIG}, quantization_config",
            fix="remove quantization_config from config.json",
        )
    return Unpacked(dense, frozenset(parts), bits)


def _block(checkpoint: Checkpoint) -> tuple[int, int]:
    settings = checkpoint.config.get("quantization_config") or {}
    block = settings.get("weight_block_size") or list(_BLOCK)
    whole = isinstance(block, list) and len(block) == 2
    if not whole or not all(isinstance(n, int) and n > 0 for n in block):
        raise WorkError(
            f"weight_block_size: {block!r} is not two numbers",
            where=f"{checkpoint.path / CONFIG}, quantization_config",
        )
    return block[0], block[1]


def _bits(weight: TensorEntry, scale: TensorEntry | None) -> int | None:
    """Of the floats that a tensor holds: 8, 4, or None where it is not packed."""
    if weight.dtype in FLOATS:
        return 8
    if weight.dtype not in ("I8", "U8") or scale is None or scale.dtype not in _EXPONENTS:
        return None
    *rows, bytes_ = weight.shape or (0,)
    return 4 if bytes_ and scale.shape == (*rows, bytes_ * 2 / _SHORT) else None


def _sizes(
    weight: tuple[int, ...], scale: tuple[int, ...], block: tuple[int, int]
) -> tuple[int, int] | None:
    """Rows and columns that share a scale; None if the shapes do not fit each other."""
    if len(weight) < 2:
        return None
    *stack, rows, columns = weight
    grids = {
        (*stack, -(-rows // block[0]), -(-columns // block[1])): block,
        (*stack, rows, 1): (1, columns),
        (*stack, 1, 1): (rows, columns),
    }
    if scale in grids:
        return grids[scale]
    if math.prod(scale) == 1:
        return rows, columns
    return (1, columns) if scale == (*stack, rows) else None


def _sizes_of_fbgemm(
    weight: tuple[int, ...], scale: tuple[int, ...], block: tuple[int, int]
) -> tuple[int, int] | None:
    """The same of FBGEMM's, whose stacks have a scale for each column, as a row or a column."""
    if len(weight) < 3:
        return _sizes(weight, scale, block)
    *stack, rows, columns = weight
    return (rows, 1) if scale in ((*stack, 1, columns), (*stack, columns, 1)) else None


def _read(weight: TensorEntry, scale: TensorEntry, block: tuple[int, int], code: str) -> Tensor:
    from tfcli.checkpoints.io.dtypes import torch_dtype
    from tfcli.models.layouts.elements import decode_e2m1, decode_e8m0

    values, scales = weight.read(), scale.read()
    if weight.dtype not in FLOATS:
        values = decode_e2m1(values.view(torch_dtype("U8")))
    if scale.dtype == "U8":
        scales = decode_e8m0(scales)
    return dequantize(values, scales, block, torch_dtype(code))


def dequantize(weight: Tensor, scale: Tensor, block: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The weight times its scales: each product in float32, rounded once to `dtype`.

    Args:
        weight (Tensor): [..., rows, columns]
        scale (Tensor): one number for each block, in as many rows and columns of blocks
        block: rows and columns of a block.
        dtype: of the result.
    """
    import torch

    from tfcli.models.layouts.floats import Scaled

    *stack, rows, columns = weight.shape
    grid = -(-rows // block[0]), -(-columns // block[1])
    scales = scale.expand(*stack, *grid) if scale.numel() == 1 else scale
    out = torch.empty(weight.shape, dtype=dtype)
    for source, target, factors in zip(
        weight.reshape(-1, rows, columns),
        out.view(-1, rows, columns),
        scales.reshape(-1, *grid),
        strict=True,
    ):
        target.copy_(Scaled(source, factors, *block).dequantize(dtype))
    return out
