"""Importance matrices of llama.cpp: read for rounding, and written of what calibration saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.gguf.imatrix import Sums, read_imatrix, write_imatrix
from tfcli.checkpoints.gguf.quantized import Place, places_of
from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError
from tfcli.quantize.plan import LinearPlan

FILE = "imatrix.gguf"


@dataclass(frozen=True)
class Importance:
    """A file that was read, for the tensors of a checkpoint.

    Args:
        path: the file.
        sums: by the names of GGUF's tensors.
        places: where each tensor of the checkpoint goes, by Hugging Face's name.
    """

    path: Path
    sums: Mapping[str, Sums]
    places: Mapping[str, Place]

    @classmethod
    def read(cls, path: Path, checkpoint: Checkpoint) -> Importance:
        """Read a file.

        Raises:
            WorkError: it is no importance matrix.
            UsageError: it knows no tensor of the checkpoint.
        """
        sums, places = read_imatrix(path), places_of(checkpoint)
        if not any(place.name in sums for place in places.values()):
            raise UsageError(
                f"knows none of the model's tensors; it has {short(next(iter(sums)))}",
                where=f"imatrix: {path}",
                fix="give one that was made with this model",
            )
        return cls(path, sums, places)

    def of(self, stored: str, inputs: int, index: int | None = None) -> Tensor | None:
        """The mean square of each input of a matrix, fp32 [n]; None where the file has none.

        Args:
            stored: the tensor's name in the checkpoint.
            inputs: n.
            index: of the matrix in a stack of the checkpoint.

        Raises:
            UsageError: the file has another number of inputs.
        """
        place = self.places.get(stored)
        sums = None if place is None else self.sums.get(place.name)
        if place is None or sums is None:
            return None
        try:
            return sums.means(place.number if index is None else index, inputs)
        except ValueError as error:
            raise UsageError(
                f"{short(place.name)} has {error}, and {short(stored)} {inputs} inputs",
                where=f"imatrix: {self.path}",
                fix="give one that was made with this model",
            ) from None

    def of_linears(self, linears: Sequence[LinearPlan]) -> dict[str, Tensor]:
        """The same by the full names of linears, of those that the file knows."""
        found = {}
        for one in linears:
            means = self.of(one.stored_name, one.in_features, one.place.index)
            if means is not None:
                found[one.name] = means
        return found


@dataclass(frozen=True)
class Keeper:
    """Keeps the sums of linears in files of their own, for a run that goes on after it was killed.

    Args:
        folder: of these files.
    """

    folder: Path

    def __call__(self, linear: LinearPlan, squares: Tensor, tokens: int) -> None:
        """Keep the sum of squares of each input, fp32 [n], over some tokens."""
        values = {
            "squares": squares.detach().cpu().contiguous(),
            "tokens": torch.tensor([tokens], dtype=torch.float32),
        }
        pending = [PendingTensor.of(name, value) for name, value in values.items()]
        write_safetensors(self._file(linear), pending)

    def write(
        self,
        linears: Sequence[LinearPlan],
        places: Mapping[str, Place],
        file: Path,
        *,
        text: str,
        length: int,
    ) -> int:
        """Write what was kept as an importance matrix.

        Args:
            linears: of the plan.
            places: see `Importance`.
            file: to write.
            text: what the inputs came from.
            length: tokens of a window.

        Returns:
            How many tensors are in it.
        """
        found: dict[str, Sums] = {}
        for one in linears:
            place, kept = places.get(one.stored_name), self._file(one)
            if place is None or not kept.is_file():
                continue  # an expert that no token went to
            if place.name not in found:
                squares = torch.zeros(place.many, one.in_features)
                found[place.name] = Sums(squares, torch.zeros(place.many))
            number = place.number if one.place.index is None else one.place.index
            source = SafetensorsFile(kept)
            found[place.name].squares[number] = source.read("squares")
            found[place.name].counts[number] = source.read("tokens")[0]
        most = max((float(sums.counts.max()) for sums in found.values()), default=0.0)
        chunks = -(-int(most) // length)
        write_imatrix(file, found, text=text, chunks=chunks, chunk_size=length)
        return len(found)

    def _file(self, linear: LinearPlan) -> Path:
        return self.folder / f"{linear.name}.safetensors"
