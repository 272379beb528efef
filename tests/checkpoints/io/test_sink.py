"""Files are written by another thread, cast on the way, and hashed as they are written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tfcli.checkpoints.io.casting import PIECE, row_blocks
from tfcli.checkpoints.io.disk import whole_file
from tfcli.checkpoints.io.sink import Sink
from tfcli.errors import WorkError
from tfcli.files import digest_file


def written(path: Path, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    with whole_file(path, 0) as sink:
        sink.write_tensor(tensor, dtype, "w")
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=dtype).view(tensor.shape)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_are_cast_as_torch_casts_them(tmp_path, dtype):
    tensor = torch.randn(3, PIECE // 2 + 1).bfloat16()
    assert torch.equal(written(tmp_path / "x", tensor, dtype), tensor.to(dtype))


def test_any_strides(tmp_path):
    base = torch.randn(70, 50, 30)
    for tensor in (base.permute(2, 0, 1), base[::3, 1:, ::2], base.expand(2, 70, 50, 30), base[0]):
        for dtype in (torch.float32, torch.float16):
            assert torch.equal(written(tmp_path / "x", tensor, dtype), tensor.to(dtype))


def test_blocks_of_a_transposed_matrix_are_small_and_copy_nothing():
    tensor = torch.arange(12.0).view(3, 4).t()
    blocks = list(row_blocks(tensor, 6))
    assert torch.equal(torch.cat(blocks), tensor)
    assert all(block.numel() <= 6 and block.data_ptr() >= tensor.data_ptr() for block in blocks)
    assert [block.numel() for block in row_blocks(tensor, 2)] == [2, 1] * 4


def test_a_value_that_becomes_infinite_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(WorkError, match="'w': 70000 is too large for float16"):
        written(tmp_path / "x", torch.tensor([1.0, 7e4]), torch.float16)
    assert list(tmp_path.iterdir()) == []
    special = torch.tensor([float("nan"), float("inf"), -float("inf")])
    assert torch.equal(written(tmp_path / "x", special, torch.float16)[1:], special[1:].half())


def test_the_hash_is_that_of_the_file_until_it_is_written_to(tmp_path):
    path = tmp_path / "x"
    with whole_file(path, 0) as sink:
        sink.write(b"header")
        sink.write_tensor(torch.arange(5 * PIECE), torch.int64, "w")
        assert sink.at == 6 + 40 * PIECE
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest_file(path) == expected
    times = path.stat()
    path.write_bytes(b"other!" + path.read_bytes()[6:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest_file(path) != expected


def test_what_cannot_be_written_is_raised_where_it_is_noticed(tmp_path):
    (tmp_path / "x").touch()
    reader = os.open(tmp_path / "x", os.O_RDONLY)
    sink = Sink(reader)
    with pytest.raises(OSError, match="Bad file descriptor"):
        for _ in range(100):
            sink.write(bytes(1000))
        sink.finish()
    sink.close()
    os.close(reader)
