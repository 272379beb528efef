"""The tensors of a quantized checkpoint, made while they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.models.layouts.packing import Part
from tfcli.models.layouts.values import Values
from tfcli.quantize.finite import require_finite
from tfcli.quantize.methods.method import Quantized
from tfcli.quantize.plan import LinearPlan, Plan
from tfcli.quantize.solvers.rtn import weight_error
from tfcli.quantize.spec import TensorOutcome


@dataclass(frozen=True)
class LayerResult:
    """A quantized linear.

    Args:
        linear: which.
        values: what becomes of its weight.
        outcome: what to report.
    """

    linear: LinearPlan
    values: Values
    outcome: TensorOutcome

    @classmethod
    def of(cls, linear: LinearPlan, weight: Tensor, quantized: Quantized) -> LayerResult:
        """What a method made of a weight, with what there is to report."""
        form = linear.packing.format
        outcome = TensorOutcome(
            name=linear.stored_name,
            outcome="quantized",
            bits=form.bits,
            group_size=form.group_size,
            weight_error=weight_error(weight, quantized.values),
            output_error=quantized.output_error,
            damping=quantized.damping,
            dead_inputs=quantized.dead_inputs,
            coarse_scales=quantized.coarse_scales,
            bytes=linear.packing.nbytes(linear.in_features, linear.out_features),
        )
        return cls(linear, quantized.values, outcome)


class QuantizedTensors:
    """The tensors of the output, in the order to write them.

    A linear is quantized when the first of its tensors is asked for, and the linears before it with
    it. Beside the linear at hand only scales wait in memory, as containers put wide types first.

    Args:
        plan: what becomes of every tensor.
        source: the checkpoint that is read; the tensors that are kept are known to be finite.
        layers: gives the linears of the plan, in any order.
    """

    def __init__(
        self,
        plan: Plan,
        source: Mapping[str, Tensor],
        layers: Iterator[LayerResult],
    ) -> None:
        self.plan, self.source, self.layers = plan, source, layers
        self.outcomes: list[TensorOutcome] = []
        self._ready: dict[str, Tensor] = {}

    def pending(self) -> list[PendingTensor]:
        """Every tensor of the output."""
        tensors = []
        for stored, (name, reason) in self.plan.kept.items():
            value = self.source[stored]
            item = PendingTensor(
                name,
                dtype_code(value.dtype),
                tuple(value.shape),
                lambda stored=stored: self.source[stored],  # type: ignore[misc]
            )
            tensors.append(item)
            self.outcomes.append(
                TensorOutcome(name=stored, outcome="kept", reason=reason, bytes=item.nbytes)
            )
        for stored, reason in self.plan.dropped.items():
            self.outcomes.append(
                TensorOutcome(name=stored, outcome="dropped", reason=reason, bytes=0)
            )
        for linear in self.plan.linears:
            tensors += [
                PendingTensor(name, dtype_code(part.dtype), part.shape, partial(self._take, name))
                for name, part in _parts(linear).items()
            ]
        return tensors

    def _take(self, name: str) -> Tensor:
        while name not in self._ready:
            layer = next(self.layers)
            for part, value in layer.linear.packing.pack(layer.values.to("cpu")).items():
                name_of_part = f"{layer.linear.name}.{part}"
                require_finite(name_of_part, value)
                self._ready[name_of_part] = value
            self.outcomes.append(layer.outcome)
        return self._ready.pop(name)


def _parts(linear: LinearPlan) -> dict[str, Part]:
    """Name -> the tensors that a linear becomes."""
    parts = linear.packing.parts(linear.in_features, linear.out_features)
    return {f"{linear.name}.{part}": shape for part, shape in parts.items()}
