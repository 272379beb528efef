"""What is read in parts gives the same bits as what is read whole, and holds no more at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.pieces import in_turn, largest_part
from tfcli.checkpoints.io.file_tensor import FileTensor
from tfcli.checkpoints.io.opened import OpenedFile

MIB = 1 << 20


def stored(path: Path, shape: tuple[int, ...]) -> tuple[TensorEntry, torch.Tensor]:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    path.write_bytes(values.numpy().tobytes())
    read = FileTensor(OpenedFile(path), 0, "F32", shape, "w")
    return TensorEntry("w", "F32", shape, ("w",), "", read), values


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((5, 1 << 20), 3),  # 4 MiB a row: two to a part, and one is left
        ((3, 3 << 20), 3),  # 12 MiB a row: never less than a row
        ((4, 100), 1),
        ((5 << 20,), 1),  # no rows
    ],
)
def test_a_large_tensor_in_a_file_comes_in_rows(
    tmp_path: Path, shape: tuple[int, ...], parts: int
) -> None:
    tensor, values = stored(tmp_path / "w", shape)
    found = list(in_turn(tensor))
    assert len(found) == parts
    assert torch.equal(torch.cat(found), values)
    assert largest_part(tensor) == max(part.nbytes for part in found)
    row = values[0].nbytes if len(shape) > 1 else values.nbytes
    assert largest_part(tensor) <= max(8 * MIB, row)
