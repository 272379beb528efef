"""The hidden states of the calibration windows between two blocks, in a file.

They are as large as the calibration text is long, and only a batch of them is looked at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


class States:
    """One tensor a batch. A batch is read, and written again with what the next block gives.

    Args:
        folder: where the file is made. It has no name there, and is gone with the process.
        batches (Tensor): fp32 [b, s, d] each.
    """

    def __init__(self, folder: Path, batches: Sequence[Tensor]) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives with the object
        self._shapes = [batch.shape for batch in batches]
        self._starts = [0]
        for batch in batches:
            self._starts.append(self._starts[-1] + 4 * batch.numel())
        for number, batch in enumerate(batches):
            self[number] = batch

    def copy(self, folder: Path) -> States:
        """The same states in a file of their own."""
        return States(folder, [self[number] for number in range(len(self))])

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, number: int) -> Tensor:
        found = torch.empty(self._shapes[number], dtype=torch.float32)
        self._file.seek(self._starts[number])
        read = self._file.readinto(found.numpy().data.cast("B"))
        assert read == found.nbytes, "what was written is there"
        return found

    def __setitem__(self, number: int, batch: Tensor) -> None:
        values = batch.detach().to("cpu", torch.float32).contiguous()
        assert values.shape == self._shapes[number], "a block changes no shape"
        self._file.seek(self._starts[number])
        self._file.write(values.numpy().data.cast("B"))
