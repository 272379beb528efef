"""Tensors in a file: whole, in part and in pieces they are what torch makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.checkpoints.io.file_tensor import FileTensor, flat_pieces, rows_of, watched

VALUES = torch.randn(4, 6, 10, generator=torch.Generator().manual_seed(0)).bfloat16()


@pytest.fixture
def stored(tmp_path: Path) -> FileTensor:
    path = tmp_path / "x.safetensors"
    write_safetensors(
        path, [PendingTensor.of("before", torch.ones(7)), PendingTensor.of("w", VALUES)]
    )
    return SafetensorsFile(path).tensor("w")


def test_whole(stored: FileTensor) -> None:
    assert (stored.dtype, stored.shape, stored.nbytes) == (torch.bfloat16, (4, 6, 10), 480)
    assert torch.equal(stored(), VALUES)


def test_parts_of_the_first_dimension(stored: FileTensor) -> None:
    assert torch.equal(stored.rows(1, 3)(), VALUES[1:3])
    assert torch.equal(stored.select(2).rows(1, 4)(), VALUES[2, 1:4])
    assert torch.equal(stored[-2:], VALUES[-2:])
    assert torch.equal(stored.reshape(-1, 5)[3:7], VALUES.reshape(-1, 5)[3:7])
    assert stored.rows(1, 1)().shape == (0, 6, 10)


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("limit", [1, 48, 1 << 22])
def test_a_part_of_any_dimension(
    stored: FileTensor, dim: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of a few bytes too, as a large tensor is read."""
    monkeypatch.setattr("tfcli.checkpoints.io.file_tensor._BLOCK", limit)
    found = stored.narrow(dim, 1, 2)
    assert torch.equal(found, VALUES.narrow(dim, 1, 2))
    assert found.untyped_storage().nbytes() == found.numel() * 2


@pytest.mark.parametrize("limit", [1, 7, 240, 1000])
def test_pieces_are_those_of_a_tensor(stored: FileTensor, limit: int) -> None:
    pieces = [piece.clone() for piece in flat_pieces(stored, limit)]
    expected = list(flat_pieces(VALUES, limit))
    assert [len(piece) for piece in pieces] == [len(piece) for piece in expected]
    assert torch.equal(torch.cat(pieces), torch.cat(expected))
    assert list(flat_pieces(rows_of(stored, 1, 1), limit)) == []
    assert list(flat_pieces(rows_of(VALUES, 1, 1), limit)) == []


def test_pieces_lie_in_the_same_memory(stored: FileTensor) -> None:
    assert len({piece.data_ptr() for piece in stored.pieces(60)}) == 1


def test_each_reading_is_told(stored: FileTensor) -> None:
    told: list[str] = []
    read = watched(stored, lambda: told.append("file"))
    assert isinstance(read, FileTensor) and told == []
    read()
    list(read.pieces(100))
    assert told == ["file"] * 2
    watched(lambda: VALUES, lambda: told.append("made"))()
    assert told[2:] == ["made"]
