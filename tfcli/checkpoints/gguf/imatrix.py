"""llama.cpp's importance matrices: the mean square of each input of a linear, by its GGUF name.

The newer form is a GGUF file with two tensors for each linear: `x.in_sum2`, sums of squares over
tokens, [matrices, inputs], and `x.counts`, how many tokens these were, [matrices, 1]. A mixture's
experts are the matrices of one tensor. The older form, `imatrix.dat`, is little-endian:

    int32 entries, then for each: int32 length, name, int32 calls, int32 values, float32 [values]

with the mean squares times `calls`, the matrices one after the other; then, where they are not left
out, int32 chunks, int32 length and the name of the text.
Source: `tools/imatrix/imatrix.cpp` and `common/imatrix-loader.cpp` of ggml-org/llama.cpp.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import PendingGGUF, Value, write_gguf
from tfcli.checkpoints.gguf.header import is_gguf
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

KIND = "imatrix"
"""What the newer form says in `general.type`."""
_SUMS, _COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True)
class Sums:
    """What was seen of the inputs of a linear, or of the experts that one tensor holds.

    Args:
        squares (Tensor): fp32 [matrices, n], sums over tokens.
        counts (Tensor): fp32 [matrices], how many tokens; 0 where a matrix has seen none.
    """

    squares: Tensor
    counts: Tensor

    def means(self, matrix: int, inputs: int) -> Tensor | None:
        """The mean square of each input of a matrix, fp32 [n]; None where nothing was seen.

        The older form says of experts how many values there are, and not how many experts.

        Raises:
            ValueError: there is no such matrix of so many inputs.
        """
        rows = self.squares.reshape(-1)
        if len(rows) % inputs or matrix >= len(rows) // inputs:
            raise ValueError(f"{list(self.squares.shape)} values")
        rows = rows.view(-1, inputs)
        count = float(self.counts[matrix if len(self.counts) == len(rows) else 0])
        return rows[matrix] / count if count > 0 else None


def read_imatrix(path: Path) -> dict[str, Sums]:
    """The matrices of a file of either form, by the names of GGUF's tensors.

    Raises:
        WorkError: it is neither, it is broken, or it holds numbers that are no sums of squares.
    """
    found = _read_gguf(path) if is_gguf(path) else _read_dat(path)
    for name, sums in found.items():
        if not bool(((sums.squares >= 0) & (sums.squares < math.inf)).all()):
            raise WorkError(
                f"{short(name)} holds numbers that are no sums of squares", where=str(path)
            )
        if not bool(((sums.counts >= 0) & (sums.counts < math.inf)).all()):
            raise WorkError(f"{short(name)} holds counts that are none", where=str(path))
    if not found:
        raise WorkError("holds no importance matrix", where=str(path))
    return found


def write_imatrix(
    path: Path, sums: Mapping[str, Sums], *, text: str, chunks: int, chunk_size: int
) -> None:
    """Write the newer form, in the order of names.

    Args:
        path: the file.
        sums: by the names of GGUF's tensors.
        text: what the inputs came from.
        chunks: windows of the text.
        chunk_size: tokens of a window.

    Raises:
        WorkError: as `write_gguf`.
    """
    metadata = {
        "general.type": Value("string", KIND),
        "imatrix.datasets": Value("array[string]", [text]),
        "imatrix.chunk_count": Value("uint32", chunks),
        "imatrix.chunk_size": Value("uint32", chunk_size),
    }
    tensors = []
    for name, one in sorted(sums.items()):
        for ending, values in ((_SUMS, one.squares), (_COUNTS, one.counts[:, None])):
            shape = tuple(values.shape)
            tensors.append(PendingGGUF(name + ending, "F32", shape, lambda v=values: [v]))  # type: ignore[misc]
    write_gguf(path, metadata, tensors)


def _read_gguf(path: Path) -> dict[str, Sums]:
    file = GGUFFile(path)
    found = {}
    for name, info in file.tensors.items():
        if name.endswith(_COUNTS) and name.removesuffix(_COUNTS) + _SUMS not in file.tensors:
            raise WorkError(f"{short(name)} counts tokens of no sums", where=str(path))
        if not name.endswith(_SUMS):
            continue
        linear = name.removesuffix(_SUMS)
        counts = file.tensors.get(linear + _COUNTS)
        if counts is None or {info.dtype, counts.dtype} != {"F32"}:
            raise WorkError(f"{short(linear)} has no sums with counts in F32", where=str(path))
        squares = file.read(name)
        squares = squares.reshape(-1, squares.shape[-1]) if squares.dim() else squares.view(1, 1)
        if math.prod(counts.shape) != len(squares):
            raise WorkError(
                f"{short(linear)} has sums of {len(squares)} matrices ({list(info.shape)}), and "
                f"counts of {math.prod(counts.shape)}",
                where=str(path),
                fix="make the file again with llama-imatrix or tfcli quantize --save-imatrix",
            )
        found[linear] = Sums(squares, file.read(linear + _COUNTS).reshape(-1))
    return found


def _read_dat(path: Path) -> dict[str, Sums]:
    import torch

    raw, at = path.read_bytes(), 0

    def number() -> int:
        nonlocal at
        (found,) = struct.unpack_from("<i", raw, at)
        at += 4
        if found < 0:
            raise ValueError("a negative length")
        return int(found)

    def taken(count: int) -> bytes:
        nonlocal at
        if at + count > len(raw):
            raise ValueError("it ends before that")
        at += count
        return raw[at - count : at]

    found = {}
    try:
        for _ in range(number()):
            name = taken(number()).decode()
            calls, count = number(), number()
            values = torch.frombuffer(bytearray(taken(4 * count)), dtype=torch.float32)
            # Older programs left `calls` at 0 where the values are means already.
            counts = torch.tensor([float(calls or 1)])
            found[name] = Sums(values[None], counts)
    except (struct.error, ValueError) as error:
        raise WorkError(
            f"is no importance matrix of llama.cpp: {error}",
            where=str(path),
            fix="llama-imatrix, or tfcli quantize --save-imatrix, writes one",
        ) from None
    return found
