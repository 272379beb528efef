"""MXFP4 experts (gpt-oss): 4-bit floats, 32 of which share a power of two.

`x_blocks` [experts, out, groups, 16] holds two values in a byte, the first in the low half, and
`x_scales` [experts, out, groups] exponents with a bias of 127. The dense `x` is kept [experts, in,
out]. Every value is exact in bfloat16.
Source: OCP Microscaling Formats 1.0; transformers `integrations/mxfp4.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.packed.unpack import Unpacked, dense_code, sources
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

_GROUP = 32


def unpacked(checkpoint: Checkpoint, exact: Callable[[str], bool]) -> Unpacked:
    """The dense experts of a checkpoint with quant_method mxfp4.

    Raises:
        WorkError: blocks without scales, or of a shape that does not fit; nothing is packed.
    """
    dense: dict[str, TensorEntry] = {}
    parts: set[str] = set()
    for stored, blocks in checkpoint.tensors.items():
        if not stored.endswith("_blocks"):
            continue
        name = stored.removesuffix("_blocks")
        scales = checkpoint.tensors.get(f"{name}_scales")
        if scales is None:
            raise WorkError(f"{short(stored)} has no scales", where=str(checkpoint.path))
        fits = len(blocks.shape) == 4 and blocks.shape == (*scales.shape, _GROUP // 2)
        if not fits or {blocks.dtype, scales.dtype} != {"U8"}:
            raise WorkError(
                f"{short(stored)} is {blocks.dtype} {list(blocks.shape)} with scales "
                f"{scales.dtype} {list(scales.shape)}",
                where=str(checkpoint.path),
                fix=f"expected: bytes, {_GROUP // 2} of them for each scale",
            )
        experts, outputs, groups = scales.shape
        shape, code = (experts, groups * _GROUP, outputs), dense_code(name, exact)
        read = partial(_read, blocks, scales, code)
        made_of = sources((stored, scales.name), checkpoint)
        dense[name] = TensorEntry(
            name, code, shape, made_of, "4-bit floats dequantized", read, "F4"
        )
        parts |= {stored, scales.name}
    if not dense:
        raise WorkError(
            "the config says that weights are packed, and none is",
            where=f"{checkpoint.path / CONFIG}, quantization_config",
            fix="remove quantization_config from config.json",
        )
    return Unpacked(dense, frozenset(parts), {name: [4] for name in dense})


def _read(blocks: TensorEntry, scales: TensorEntry, code: str) -> Tensor:
    import torch

    from tfcli.checkpoints.io.dtypes import torch_dtype

    packed, powers = blocks.read(), scales.read()
    experts, outputs, groups = powers.shape
    out = torch.empty(experts, groups * _GROUP, outputs, dtype=torch_dtype(code))
    for target, bytes_, exponents in zip(out, packed, powers, strict=True):
        target.copy_(dequantize(bytes_, exponents).t())
    return out


def dequantize(blocks: Tensor, scales: Tensor) -> Tensor:
    """One expert's matrix, float32 [out, in].

    Args:
        blocks (Tensor): [out, groups, 16] of bytes
        scales (Tensor): [out, groups] of bytes
    """
    from tfcli.models.layouts.elements import decode_e2m1, decode_e8m0
    from tfcli.models.layouts.floats import Scaled

    values = decode_e2m1(blocks).flatten(1)
    return Scaled(values, decode_e8m0(scales), 1, _GROUP).dequantize()
