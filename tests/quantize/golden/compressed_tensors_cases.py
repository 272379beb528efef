"""The quantized linears of `compressed_tensors.safetensors`: how each is quantized, and of what."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

OUT, INTO = 12, 96


def args(bits: int, kind: str, strategy: str, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": kind, "symmetric": True, "strategy": strategy, **more}


E4M3, BYTE = "torch.float8_e4m3fn", "torch.uint8"
TOKEN = args(8, "int", "token", dynamic=True)
FLOATS = args(8, "float", "token", dynamic=True)

TENSOR = args(8, "int", "tensor", dynamic=True)
ASYM = {"symmetric": False}
MX = {"group_size": 32, "scale_dtype": BYTE}
NV = {"group_size": 16, "scale_dtype": E4M3}

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "pack-4": ("pack-quantized", args(4, "int", "group", group_size=32), None),
    "pack-4-asym": ("pack-quantized", args(4, "int", "group", group_size=32) | ASYM, None),
    "pack-3-asym": ("pack-quantized", args(3, "int", "channel") | ASYM, None),
    "pack-5": ("pack-quantized", args(5, "int", "group", group_size=48), None),
    "pack-8": ("pack-quantized", args(8, "int", "channel"), None),
    "pack-2-tensor": ("pack-quantized", args(2, "int", "tensor"), None),
    "int-8": ("int-quantized", args(8, "int", "channel"), TOKEN),
    "int-8-tensor": ("int-quantized", args(8, "int", "tensor"), TENSOR),
    "int-4-asym": ("int-quantized", args(4, "int", "group", group_size=16) | ASYM, TOKEN),
    "fp8-tensor": ("float-quantized", args(8, "float", "tensor"), TENSOR | {"type": "float"}),
    "fp8-channel": ("float-quantized", args(8, "float", "channel"), FLOATS),
    "fp8-block": (
        "float-quantized",
        args(8, "float", "block", block_structure=[8, 40]),
        args(8, "float", "group", group_size=32, dynamic=True),
    ),
    "fp8-alone": ("naive-quantized", args(8, "float", "channel"), None),
    "mxfp8": (
        "mxfp8-quantized",
        args(8, "float", "group", **MX),
        args(8, "float", "group", dynamic=True, **MX),
    ),
    "nvfp4": (
        "nvfp4-pack-quantized",
        args(4, "float", "tensor_group", **NV),
        args(4, "float", "tensor_group", dynamic="local", **NV),
    ),
    "mxfp4": (
        "mxfp4-pack-quantized",
        args(4, "float", "group", **MX),
        args(4, "float", "group", dynamic=True, **MX),
    ),
}
"""Name -> format, arguments of the weight, arguments of the inputs."""


def weight() -> Tensor:
    """[out, in], by arithmetic: no library's random numbers."""
    out, into = torch.arange(OUT)[:, None], torch.arange(INTO)[None]
    return ((out * out * 5 + into * 37 + out * into * 3 + into // 9) % 211 - 97) / 128


def inputs() -> Tensor:
    """[1, tokens, in], with a token of zeros and one that is much larger than the others."""
    token, into = torch.arange(6)[:, None], torch.arange(INTO)[None]
    x = ((token * token * 7 + into * 41 + token * into) % 199 - 99) / 64
    return (x * torch.tensor([1, 0.3, 0, 25, 1, 2])[:, None])[None]
