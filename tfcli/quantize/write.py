"""The files of a quantized checkpoint: one a block, each verified when it is written.

A file that is under its name, with a note beside it of what became of its tensors, is done: a run
that was killed goes on after it. So the result has the same bits, however often it was killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel
from torch import Tensor

from tfcli.checkpoints.hf.index import index_text
from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.checkpoints.hf.shards import shard_names
from tfcli.checkpoints.hf.source import INDEX, open_tensors
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.checkpoints.io.tensor_hashes import TensorHashes
from tfcli.checkpoints.write import verify_written
from tfcli.errors import WorkError
from tfcli.files import write_text
from tfcli.models.layouts.packing import Part
from tfcli.models.layouts.values import Values
from tfcli.quantize.finite import require_finite
from tfcli.quantize.methods.method import Quantized
from tfcli.quantize.plan import KeptPlan, LinearPlan, Plan, Unit
from tfcli.quantize.result_spec import TensorOutcome
from tfcli.quantize.solvers.rtn import weight_error

if TYPE_CHECKING:
    from tfcli.checkpoints.checkpoint import TensorEntry, Weights

SCRATCH = ".walk"
"""The folder of what only a run that was killed needs."""


@dataclass(frozen=True)
class LayerResult:
    """A quantized linear.

    Args:
        linear: which.
        parts: the tensors that its weight becomes.
        outcome: what to report.
    """

    linear: LinearPlan
    parts: Mapping[str, Tensor]
    outcome: TensorOutcome

    @classmethod
    def of(
        cls,
        linear: LinearPlan,
        weight: Tensor,
        quantized: Quantized,
        *,
        tokens: int | None = None,
        enough: bool = True,
    ) -> LayerResult:
        """What a method made of a weight, with what there is to report.

        Args:
            linear: which.
            weight (Tensor): [m, n], as it was.
            quantized: what became of it.
            tokens: calibration tokens that went to an expert.
            enough: whether they were enough to go by.

        Raises:
            WorkError: the layout does not give back what it was given, or a scale is not finite.
        """
        form = linear.packing.format
        outcome = TensorOutcome(
            name=linear.reported,
            outcome="quantized",
            reason=linear.remark,
            bits=form.bits,
            group_size=form.group_size,
            weight_error=weight_error(weight, quantized.values),
            output_error=quantized.output_error,
            damping=quantized.damping,
            dead_inputs=quantized.dead_inputs,
            coarse_scales=quantized.coarse_scales,
            tokens=tokens,
            fallback=None if enough else f"rounded to nearest: {tokens} calibration tokens",
            bytes=linear.nbytes,
        )
        return cls(linear, _packed(linear, quantized.values), outcome)


class _Note(BaseModel):
    """What is known of a file that is done."""

    outcomes: list[TensorOutcome]


class BlockFiles:
    """The weight files of the output, one for each unit of the plan.

    Args:
        folder: the output.
        plan: what becomes of every tensor.
        source: the checkpoint that is read; the tensors that are kept are known to be finite.
        texts: what the header of each file says beside `format`.
    """

    def __init__(
        self, folder: Path, plan: Plan, source: Weights, texts: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.source = folder, source
        self._texts = {"format": "pt", **(texts or {})}
        self._changed: Mapping[str, Tensor] = {}
        self.units = [unit for unit in plan.units if unit.linears or unit.kept]
        names = shard_names(len(self.units))
        self._paths = {u.path: folder / name for u, name in zip(self.units, names, strict=True)}
        self._scratch = folder / SCRATCH
        self.places = plan.places

    @property
    def scratch(self) -> Path:
        """The folder of what only a run that was killed needs."""
        self._scratch.mkdir(exist_ok=True)
        return self._scratch

    @property
    def names(self) -> list[str]:
        """The weight files, in order."""
        return [path.name for path in self._paths.values()]

    def path(self, unit: Unit) -> Path:
        """The file of a unit that holds something."""
        return self._paths[unit.path]

    def pending(self) -> list[PendingTensor]:
        """Everything that is to be written; its values cannot be asked for."""
        return [item for unit in self.units for item in self._pending(unit, _Made(iter(())))]

    def finished(self, unit: Unit) -> dict[str, Values] | None:
        """What an earlier process made of a unit's linears; None if it did not get so far."""
        if self.outcomes(unit) is None:
            return None
        if not unit.linears:
            return {}
        file = SafetensorsFile(self._paths[unit.path])
        return {
            linear.name: linear.packing.unpack(
                {part: file.read(name) for part, name in _names(linear).items()}
            )
            for linear in unit.linears
        }

    def kept(self, unit: Unit) -> dict[str, Tensor]:
        """What a finished unit's file holds that is not quantized, by the names in the model."""
        if not unit.kept:
            return {}
        written = {kept.stored: kept.written for kept in unit.kept}
        tensors = SafetensorsFile(self._paths[unit.path])
        return {
            name: place.read(tensors.read(written[place.name]))
            for name, place in self.places.items()
            if place.name in written
        }

    def outcomes(self, unit: Unit) -> list[TensorOutcome] | None:
        """What became of a unit's tensors; None if it is not done. One that holds nothing is."""
        if unit.path not in self._paths:
            return []
        note = self._note(unit)
        if not note.is_file() or not self._paths[unit.path].is_file():
            return None
        return _Note.model_validate_json(note.read_bytes()).outcomes

    def write(
        self, unit: Unit, layers: Iterator[LayerResult], changed: Mapping[str, Tensor]
    ) -> None:
        """Write a unit's file, read it again, and note that it is done.

        A linear is taken from `layers` when the first of its tensors is asked for, and the linears
        before it with it. Beside the linear at hand only scales wait in memory, as containers put
        wide types first.

        Args:
            unit: which.
            layers: its linears.
            changed: what `Walk.changed` says when the first linear was taken.

        Raises:
            WorkError: a full disk, or a file that differs from what was written.
        """
        path, made, hashes = self._paths[unit.path], _Made(layers), TensorHashes()
        self._changed = changed
        own = {name for linear in unit.linears for name in _names(linear).values()}
        pending = self._pending(unit, made)
        with freed_at_once():
            write_safetensors(
                path,
                [hashes.noting(item) if item.name in own else item for item in pending],
                self._texts,
            )
            verify_written(open_tensors(path), pending, hashes)
        kept = [
            TensorOutcome(
                name=kept.stored,
                outcome="kept",
                reason=f"{kept.reason}, with factors" if self._is_new(kept) else kept.reason,
                bytes=item.nbytes,
            )
            for kept, item in zip(unit.kept, pending, strict=False)
        ]
        note = _Note(outcomes=[*kept, *made.outcomes])
        write_text(self.scratch / self._note(unit).name, note.model_dump_json())

    def close(self) -> list[TensorOutcome]:
        """Write the index when every unit is done; what became of all tensors that were read."""
        items = {unit.path: self._pending(unit, _Made(iter(()))) for unit in self.units}
        if len(self.units) > 1:
            homes = {i.name: self._paths[path].name for path, own in items.items() for i in own}
            total = sum(item.nbytes for own in items.values() for item in own)
            write_text(self.folder / INDEX, index_text(homes, total, self.folder / INDEX))
        return [outcome for unit in self.units for outcome in self.outcomes(unit) or []]

    def _pending(self, unit: Unit, made: _Made) -> list[PendingTensor]:
        """The tensors of a unit: those that are kept, then the parts of linears."""
        return [
            *(self._kept(kept) for kept in unit.kept),
            *(
                PendingTensor(name, dtype_code(part.dtype), part.shape, partial(made.take, name))
                for linear in unit.linears
                for name, part in _parts(linear).items()
            ),
        ]

    def _kept(self, kept: KeptPlan) -> PendingTensor:
        entry = self.source.tensors[kept.stored]
        new = [name for name in self._changed if self.places[name].name == kept.stored]
        read = partial(self._new, entry, new) if new else entry.read
        return PendingTensor(kept.written, entry.dtype, entry.shape, read)

    def _is_new(self, kept: KeptPlan) -> bool:
        return any(self.places[name].name == kept.stored for name in self._changed)

    def _new(self, entry: TensorEntry, names: list[str]) -> Tensor:
        """A stored tensor with what changed in it."""
        value = entry.read().clone()
        for name in names:
            self.places[name].read(value).copy_(self._changed[name])
        return value

    def _note(self, unit: Unit) -> Path:
        return self._scratch / f"{self._paths[unit.path].stem}.json"


class _Made:
    """The tensors of linears, made when one is asked for."""

    def __init__(self, layers: Iterator[LayerResult]) -> None:
        self.layers = layers
        self.outcomes: list[TensorOutcome] = []
        self._ready: dict[str, Tensor] = {}

    def take(self, name: str) -> Tensor:
        while name not in self._ready:
            layer = next(self.layers)
            names = _names(layer.linear)
            self._ready |= {names[part]: value for part, value in layer.parts.items()}
            self.outcomes.append(layer.outcome)
        return self._ready.pop(name)


def _packed(linear: LinearPlan, values: Values) -> dict[str, Tensor]:
    """The parts of a linear, which unpack to what the method made.

    Raises:
        WorkError: they do not, or one that is no levels holds NaN or infinity.
    """
    values = values.to("cpu")
    parts = linear.packing.pack(values)
    if not linear.packing.unpack(parts).equals(values):
        raise WorkError(
            f"its layout gives other values than {linear.reported} was quantized to",
            where=linear.name,
            fix="this is a fault of tfcli: please report it with the command",
        )
    for part, name in _names(linear).items():
        if part != linear.packing.main:  # levels, which may be called floats
            require_finite(name, parts[part])
    return parts


def _parts(linear: LinearPlan) -> dict[str, Part]:
    """Name -> the tensors that a linear becomes."""
    parts = linear.packing.parts(linear.in_features, linear.out_features)
    return {f"{linear.name}.{part}": shape for part, shape in parts.items()}


def _names(linear: LinearPlan) -> dict[str, str]:
    """Part -> the name of the tensor that it is."""
    parts = linear.packing.parts(linear.in_features, linear.out_features)
    return {part: f"{linear.name}.{part}" for part in parts}
