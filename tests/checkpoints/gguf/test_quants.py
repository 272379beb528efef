"""Quantized bytes and values are the gguf library's own."""

from concurrent.futures import ThreadPoolExecutor

import gguf
import numpy as np
import pytest
import torch

from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.quants import decode, encode
from tfcli.checkpoints.gguf.types import BY_NAME, READABLE, WRITABLE
from tfcli.errors import WorkError
from tfcli.several_cores import GROUP, PIECE

QUANTIZED = [name for name in WRITABLE if not BY_NAME[name].plain]
BY_LIBRARY = [kind.name for kind in gguf.quants._type_traits]  # what the library can dequantize


def rows():
    """Values of every kind, more of them than one thread takes."""
    made = torch.randn(GROUP * PIECE // 96 + 7, 96, generator=torch.Generator().manual_seed(0))
    made[0] = 0
    made[1] = 1e-40
    made[2] = torch.linspace(-127, 127, 96)
    made[3] = torch.arange(96) - 47.5  # halves are rounded away from zero
    made[4, :3] = torch.tensor([127.0, 0.49999997, -2.5])
    made[5] = -0.0
    made[6, ::2], made[6, 1::2] = 3.0, -3.0  # which of two farthest values decides
    made[7, ::2], made[7, 1::2] = -3.0, 3.0
    made[8] = 0
    made[8, 5::32] = 1e-40  # no float32 holds the inverse of the scale
    made[9, 1::2] = -0.0
    return made


def theirs(values, kind):
    with np.errstate(all="ignore"):
        return gguf.quants.quantize(values.float().numpy(), gguf.GGMLQuantizationType[kind])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", QUANTIZED)
def test_bytes_are_those_of_the_gguf_library(kind, dtype):
    values = rows().to(dtype)
    made = b"".join(bytes(piece) for piece in encode(values, kind, "x"))
    assert made == theirs(values, kind).tobytes()


def test_threads_change_nothing_and_leave_torch_its_own():
    values, threads = rows().bfloat16(), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        made = b"".join(bytes(piece) for piece in encode(values, "Q8_0", "x"))
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(threads)
    assert made == theirs(values, "Q8_0").tobytes()


def test_threads_work_in_the_mode_of_who_calls_them():
    """A tensor that was made in inference mode is written to in no other."""
    values, threads = rows(), torch.get_num_threads()
    raw = torch.from_numpy(theirs(values, "Q8_0"))
    try:
        torch.set_num_threads(2)
        with torch.inference_mode():
            decode(raw, "Q8_0", torch.empty(values.shape))
    finally:
        torch.set_num_threads(threads)


def test_strides_do_not_matter():
    values = torch.randn(64, 40).t()
    made = b"".join(bytes(piece) for piece in encode(values, "Q5_1", "x"))
    assert made == theirs(values.contiguous(), "Q5_1").tobytes()


@pytest.mark.parametrize("kind", QUANTIZED)
def test_values_are_those_of_the_gguf_library(kind):
    raw = theirs(rows(), kind)
    expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind])
    found = decode(torch.from_numpy(raw), kind, torch.empty(expected.shape))
    assert torch.equal(found, torch.from_numpy(expected))


def test_what_is_said_to_be_readable_is():
    plain = {name for name, kind in BY_NAME.items() if kind.plain}
    assert set(READABLE) == {*BY_LIBRARY, *plain}


@pytest.mark.parametrize("kind", [name for name in READABLE if not BY_NAME[name].plain])
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
    [("Q8_0", 1e8), ("Q4_0", 1e6), ("Q4_1", 7e4), ("Q5_0", float("inf")), ("Q5_1", float("nan"))],
)
def test_values_that_a_type_cannot_hold_are_refused(kind, value):
    values = torch.ones(40, 64)
    values[39, 63] = value
    with pytest.raises(WorkError, match=f"{kind} cannot hold") as caught:
        list(encode(values, kind, "blk.0.x"))
    assert "blk.0.x" in str(caught.value)
