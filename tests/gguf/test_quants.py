"""Quantized bytes and values are the gguf library's own."""

import gguf
import numpy as np
import pytest
import torch

from tfcli.errors import WorkError
from tfcli.gguf.file import GGUFFile
from tfcli.gguf.quants import PIECE, decode, encode
from tfcli.gguf.types import BY_NAME, WRITABLE

QUANTIZED = [name for name in WRITABLE if not BY_NAME[name].plain]
READABLE = [
    kind.name
    for kind in gguf.quants._type_traits  # what the library can dequantize
    if not BY_NAME[kind.name].plain
]


def rows():
    """Values of every kind, more than one piece of them."""
    made = torch.randn(PIECE // 64 + 7, 96, generator=torch.Generator().manual_seed(0))
    made[0] = 0
    made[1] = 1e-40
    made[2] = torch.linspace(-127, 127, 96)
    made[3] = torch.arange(96) - 47.5  # halves are rounded away from zero
    made[4, :3] = torch.tensor([127.0, 0.49999997, -2.5])
    made[5] = -0.0
    return made


def theirs(values, kind):
    with np.errstate(all="ignore"):
        return gguf.quants.quantize(values.float().numpy(), gguf.GGMLQuantizationType[kind])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", WRITABLE)
def test_bytes_are_those_of_the_gguf_library(kind, dtype):
    values = rows().to(dtype)
    made = b"".join(bytes(piece) for piece in encode(values, kind, "x"))
    assert made == theirs(values, kind).tobytes()


@pytest.mark.parametrize("kind", QUANTIZED)
def test_values_are_those_of_the_gguf_library(kind):
    raw = theirs(rows(), kind)
    expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind])
    found = decode(torch.from_numpy(raw), kind, torch.empty(expected.shape))
    assert torch.equal(found, torch.from_numpy(expected))


@pytest.mark.parametrize("kind", READABLE)
def test_every_type_that_the_library_reads_is_read_from_a_file(kind, tmp_path):
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    raw = np.random.default_rng(0).integers(0, 100, (3, 2 * size), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("x", raw, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUFFile(tmp_path / "x.gguf")
    assert (file.info("x").dtype, file.info("x").shape) == (kind, (3, 2 * block))
    assert torch.equal(file.read("x"), torch.from_numpy(raw))
    expected = torch.from_numpy(gguf.quants.dequantize(raw, number))
    assert torch.equal(file.dequantize("x").nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))
    half = file.dequantize("x", torch.bfloat16, index=1)
    assert torch.equal(half.nan_to_num(nan=7.0), expected[1].bfloat16().nan_to_num(nan=7.0))


def test_a_type_that_the_library_cannot_dequantize_is_named():
    with pytest.raises(WorkError, match="cannot dequantize Q8_1"):
        decode(torch.zeros(1, 40, dtype=torch.uint8), "Q8_1", torch.empty(1, 32))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("F16", 70000.0), ("Q8_0", 1e8), ("Q4_0", 1e6), ("Q4_1", 7e4), ("Q5_0", float("inf"))],
)
def test_values_that_a_type_cannot_hold_are_refused(kind, value):
    values = torch.ones(40, 64)
    values[39, 63] = value
    with pytest.raises(WorkError, match=f"{kind} cannot hold") as caught:
        list(encode(values, kind, "blk.0.x"))
    assert "blk.0.x" in str(caught.value)


def test_infinity_stays_infinity_in_plain_types():
    values = torch.tensor([[1.0, float("inf"), float("nan")]])
    (piece,) = encode(values, "F16", "x")
    assert np.frombuffer(piece, np.float16)[1] == np.inf
