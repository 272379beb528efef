"""What quantized weights go into, with all that is settled before any of them is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.write import Written
from tfcli.models.layouts.layout import Storage
from tfcli.models.model import Model
from tfcli.quantize.head import head_of
from tfcli.quantize.methods.method import Method
from tfcli.quantize.plan import Choice, Plan
from tfcli.quantize.result_spec import TensorOutcome
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.write import BlockFiles
from tfcli.recipe.job import Job


class Output(ABC):
    """A folder of tensors, or one file.

    Args:
        spec: what was asked for.
        checkpoint: that is read.
        model: on the meta device; only its shapes count.
        unseen: full name of each linear that calibration does not reach -> why it stays as it is.

    Attributes:
        layout: how weights are stored.
        method: that makes them.
        head: full name of the head, if it is quantized too.
        notes: what the user is to know of the choices that were made.
        plan: what becomes of every tensor.
        texts: what the header of each file says beside `format`.

    Raises:
        UsageError: what was asked for does not fit together, or not this model.
        WorkError: the model cannot be written so.
    """

    layout: type[Storage]
    method: Method
    plan: Plan
    texts: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, spec: QuantizeSpec, checkpoint: Checkpoint, model: Model, unseen: Mapping[str, str]
    ) -> None:
        self.spec, self.checkpoint, self.model = spec, checkpoint, model
        self.choice = Choice.of(spec, unseen)
        self.head = head_of(model, spec)
        self.notes: list[str] = []

    @abstractmethod
    def folder(self, job: Job) -> Path:
        """Where the walk writes its files."""

    def files(self, job: Job) -> BlockFiles:
        """The files that the walk writes."""
        return BlockFiles(self.folder(job), self.plan, self.checkpoint.weights, self.texts)

    @abstractmethod
    def finish(self, job: Job, files: BlockFiles) -> tuple[Written, list[TensorOutcome]]:
        """Write the rest when every block is done.

        Returns:
            What was written, and what became of every tensor that was read.
        """

    def foreseen(self) -> list[TensorOutcome]:
        """What will become of every tensor that is written, without what only the work shows."""
        tensors = self.checkpoint.tensors
        found = []
        for unit in self.plan.units:
            for kept in unit.kept:
                nbytes = tensors[kept.stored].nbytes
                found.append(
                    TensorOutcome(
                        name=kept.stored, outcome="kept", reason=kept.reason, bytes=nbytes
                    )
                )
            for linear in unit.linears:
                form = linear.packing.format
                found.append(
                    TensorOutcome(
                        name=linear.reported,
                        outcome="quantized",
                        reason=linear.remark,
                        bits=form.bits,
                        group_size=form.group_size,
                        bytes=linear.nbytes,
                    )
                )
        return found
