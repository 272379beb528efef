"""llama.cpp's own quantizer, which the xllamacpp wheel exports: the bytes of rows of a type."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import torch
import xllamacpp
from torch import Tensor

from tfcli.models.layouts.ggml import GGML_TYPES, GGMLValues
from tfcli.models.layouts.ggml_blocks import unpack_blocks


def llama_quantize(weight: Tensor, kind: str, importance: Tensor | None = None) -> GGMLValues:
    """Quantize as llama.cpp does.

    Args:
        weight: fp32 [m, n].
        kind: a key of `GGML_TYPES`.
        importance: fp32 [n], a line of an importance matrix.
    """
    library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"))))
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    numbers = [ctypes.c_int64] * 3
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *numbers, ctypes.c_void_p]
    made, (m, n) = GGML_TYPES[kind], weight.shape
    out = torch.zeros(m, n // made.block * made.nbytes, dtype=torch.uint8)
    source = weight.float().contiguous()
    line = None if importance is None else importance.float().contiguous()
    number = int(gguf.GGMLQuantizationType[kind])
    line_at = None if line is None else line.data_ptr()
    assert quantize(number, source.data_ptr(), out.data_ptr(), 0, m, n, line_at) == out.numel()
    return unpack_blocks(out, kind)
