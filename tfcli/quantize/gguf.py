"""`tfcli quantize --layout gguf`: one file of llama.cpp's instead of a folder of tensors.

The walk is that of every layout. Its files, one a block, hold rows of block types and stay in the
scratch folder: the GGUF file is put together from them when all are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.gguf.mixes import BY_BITS
from tfcli.checkpoints.gguf.packed import PackedRows
from tfcli.checkpoints.gguf.quantized import places_of, plan_quantized, types_of
from tfcli.checkpoints.gguf.write import verify, write
from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.write import Written
from tfcli.errors import UsageError
from tfcli.models.layouts.gguf import GGUF, GGMLPacking
from tfcli.models.matching import LoadAccount, match_names
from tfcli.models.model import Model
from tfcli.models.walks import linears_of
from tfcli.quantize.importance import FILE, Importance, Keeper
from tfcli.quantize.methods.ggml import Blocks
from tfcli.quantize.methods.registry import get_block_method
from tfcli.quantize.output import Output
from tfcli.quantize.plan import LinearPlan, make_plan
from tfcli.quantize.result_spec import TensorOutcome
from tfcli.quantize.solvers.ggml.solve import require_room, round_into_blocks
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.text import window_length
from tfcli.quantize.write import SCRATCH, BlockFiles
from tfcli.recipe.job import Job

_SEEN = "seen"
"""A folder of the scratch folder with what calibration saw of the inputs of each linear."""
_OUTSIDE = "outside.safetensors"
"""The file of the scratch folder with the embedding and the output matrix."""


class GGUFOutput(Output):
    """One file. See `Output`.

    Attributes:
        types: name in the checkpoint -> the block type of a weight.
    """

    layout = GGUF
    method: Blocks

    def __init__(
        self, spec: QuantizeSpec, checkpoint: Checkpoint, model: Model, unseen: Mapping[str, str]
    ) -> None:
        super().__init__(spec, checkpoint, model, unseen)
        self.mix = spec.gguf_type or BY_BITS[spec.bits]
        self.name = Path(str(spec.output)).name
        self.types, self._notes = types_of(checkpoint, self.mix)
        parameters = model.state_dict(keep_vars=True)
        places = match_names(model, checkpoint.weights, parameters, LoadAccount())
        held = {n: places[f"{n}.weight"].name for n in linears_of(model)}
        plan_quantized(checkpoint, {}, self.mix, name=self.name)  # refuses what GGUF lacks
        inside = set(held.values())
        self.outside = [name for name in self.types if name not in inside]
        for name in self.outside:
            require_room(checkpoint.weights[name], name=name)
        linears = {name: self.types[of] for name, of in held.items() if of in self.types}
        left_out = self.choice.reasons(list(held))
        for name in held:
            if name not in linears and name not in left_out:
                raise UsageError(
                    f"{name} has rows that fill no type's blocks",
                    where="layout",
                    fix="name it in exclude",
                )
        self.method = get_block_method(spec.method)(spec, linears)
        self.plan = make_plan(
            model,
            checkpoint.weights,
            format_of=self.method.format,
            layout=GGUF,
            choice=self.choice,
        )
        self.importance = self._importance()

    def _importance(self) -> Importance | None:
        """What `imatrix` says, which the method then rounds by."""
        if self.spec.imatrix is None:
            return None
        found = Importance.read(Path(self.spec.imatrix), self.checkpoint)
        self.method.importance = found.of_linears(self.plan.linears)
        missing = [one.name for one in self.plan.linears if one.name not in self.method.importance]
        if missing:
            count = f"{len(missing)} of {len(self.plan.linears)} linears"
            self.notes.append(
                f"imatrix says nothing of {count}, such as {missing[0]}: their inputs count alike"
            )
        return found

    def files(self, job: Job) -> BlockFiles:
        """See `Output.files`; what calibration sees is kept beside them where that is asked for."""
        if self.spec.imatrix is not None:
            job.has_read(self.spec.imatrix)
        if self.spec.save_imatrix:
            kept = self.folder(job) / _SEEN
            kept.mkdir(exist_ok=True)
            self.method.keep = Keeper(kept)
        return super().files(job)

    def folder(self, job: Job) -> Path:
        """Where the walk writes its files: only this process reads them."""
        found: Path = job.output / SCRATCH
        found.mkdir(exist_ok=True)
        return found

    def foreseen(self) -> list[TensorOutcome]:
        """See `Output.foreseen`."""
        return [self._outcome(one) for one in super().foreseen()]

    def finish(self, job: Job, files: BlockFiles) -> tuple[Written, list[TensorOutcome]]:
        """Write the file and read it again. See `Output.finish`."""
        packed = {}
        for unit in self.plan.units:
            for linear in unit.linears:
                packed[linear.stored_name] = _rows(linear, files.path(unit))
        outside = self._rounded(job)
        planned = plan_quantized(self.checkpoint, packed | outside, self.mix, name=self.name)
        file = job.output / f"{self.name}.gguf"
        write(planned, file)
        verify(planned, file)
        for note in (*self._notes, *planned.notes):
            job.console.note(note)
        beside = []
        if isinstance(self.method.keep, Keeper):
            self.method.keep.write(
                self.plan.linears,
                places_of(self.checkpoint),
                job.output / FILE,
                text=Path(self.spec.data).name if self.spec.data else "python-docs",
                length=window_length(self.spec, self.checkpoint),
            )
            beside.append(FILE)
        outcomes = [self._outcome(one) for one in files.close()]
        return Written([file.name], beside, planned.nbytes, len(planned.targets)), outcomes

    def _rounded(self, job: Job) -> dict[str, PackedRows]:
        """The embedding and the output matrix, rounded: calibration does not see their inputs."""
        file, pending = self.folder(job) / _OUTSIDE, []
        for name in self.outside:
            m, n = self.checkpoint.tensors[name].shape
            packing = GGMLPacking(self.types[name])
            part = packing.parts(n, m)["rows"]
            read = partial(self._round, name, packing)
            pending.append(PendingTensor(name, dtype_code(part.dtype), part.shape, read))
        if pending and not file.is_file():
            write_safetensors(file, pending)
        held: dict[str, PackedRows] = {}
        for name in self.outside:
            m, n = self.checkpoint.tensors[name].shape
            held[name] = PackedRows(self.types[name], (m, n), _reader(file, name))
        return held

    def _round(self, name: str, packing: GGMLPacking) -> Tensor:
        weight = self.checkpoint.weights[name]
        seen = None if self.importance is None else self.importance.of(name, weight.shape[1])
        return packing.pack(round_into_blocks(weight, packing.kind, seen, name=name))["rows"]

    def _outcome(self, one: TensorOutcome) -> TensorOutcome:
        """With what happens to the embedding and the output matrix, which no block holds."""
        if one.name not in self.outside:
            return one
        m, n = self.checkpoint.tensors[one.name].shape
        packing = GGMLPacking(self.types[one.name])
        reason = f"outside of the blocks: rounded to {packing.kind}"
        return one.model_copy(update={"reason": reason, "bytes": packing.nbytes(n, m)})


def _rows(linear: LinearPlan, file: Path) -> PackedRows:
    assert isinstance(linear.packing, GGMLPacking)
    shape = linear.out_features, linear.in_features
    read = _reader(file, f"{linear.name}.rows")
    return PackedRows(linear.packing.kind, shape, read, linear.place.transposed)


def _reader(file: Path, name: str) -> Callable[[], Tensor]:
    return lambda: SafetensorsFile(file).read(name)
