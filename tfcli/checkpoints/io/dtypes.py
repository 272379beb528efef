"""How element types are spelt: in safetensors headers, in torch, and by users.

Light on purpose: headers are read and checked without importing torch.
Source: https://github.com/huggingface/safetensors (the `Dtype` enumeration).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfcli.errors import WorkError

if TYPE_CHECKING:
    import torch

# Bits of one element. F4 and F6 elements are packed without gaps.
BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}

TORCH_NAMES = {
    "BOOL": "bool",
    "F4": "float4_e2m1fn_x2",  # two elements a byte: the last dimension is halved in torch
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
_CODES = {name: code for code, name in TORCH_NAMES.items()}

# What users write (`--dtype bf16`) to the header's code.
USER_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}

# Plain floating point: a change of dtype casts these and leaves every other type alone.
FLOATS = ("F64", "F32", "F16", "BF16")


def torch_dtype(code: str, *, where: str | None = None) -> torch.dtype:
    """The torch type of a header's dtype code, such as torch.bfloat16 for `BF16`.

    Raises:
        WorkError: this torch has no such type.
    """
    import torch

    found = getattr(torch, TORCH_NAMES.get(code, ""), None)
    if not isinstance(found, torch.dtype):
        raise WorkError(
            f"torch {torch.__version__} has no type for {code} values",
            where=where,
            fix="use a checkpoint in another format, or a torch that knows the type",
        )
    return found


def dtype_code(dtype: torch.dtype) -> str:
    """The safetensors code of a torch type.

    Raises:
        WorkError: safetensors cannot store the type.
    """
    code = _CODES.get(str(dtype).removeprefix("torch."))
    if code is None:
        raise WorkError(f"safetensors cannot store {dtype}")
    return code


def stored_shape(code: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A torch shape as the header states it: F4 counts elements, torch counts pairs."""
    return (*shape[:-1], shape[-1] * 2) if code == "F4" and shape else shape


def torch_shape(code: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A header's shape as torch states it, the inverse of `stored_shape`."""
    return (*shape[:-1], shape[-1] // 2) if code == "F4" and shape else shape
