"""The tensors of a quantized checkpoint, made while they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.io.header import data_bytes
from tfcli.errors import WorkError
from tfcli.models.layers.gptq_layout import PACK
from tfcli.models.rules import Place
from tfcli.quantize.grid import GridOptions
from tfcli.quantize.plan import LinearPlan, Plan
from tfcli.quantize.quantized import QuantizedWeight
from tfcli.quantize.spec import TensorOutcome


@dataclass(frozen=True)
class LayerResult:
    """A quantized linear.

    Args:
        name: full name of the module.
        weight: what becomes of its weight.
        outcome: what to report; `bytes` is that of the four tensors.
    """

    name: str
    weight: QuantizedWeight
    outcome: TensorOutcome


class QuantizedTensors:
    """The tensors of the output, in the order to write them.

    A linear is quantized when the first of its tensors is asked for, and the linears before it with
    it. Beside the linear at hand only scales wait in memory, as containers put wide types first.

    Args:
        plan: what becomes of every tensor.
        source: the checkpoint that is read; the tensors that are kept are known to be finite.
        layers: gives the linears of the plan, in any order.
        grid: the grid's options.
    """

    def __init__(
        self,
        plan: Plan,
        source: Mapping[str, Tensor],
        layers: Iterator[LayerResult],
        grid: GridOptions,
    ) -> None:
        self.plan, self.source, self.layers, self.grid = plan, source, layers, grid
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
                PendingTensor(name, code, shape, lambda name=name: self._take(name))  # type: ignore[misc]
                for name, (code, shape) in layout_of(linear, self.grid).items()
            ]
        return tensors

    def _take(self, name: str) -> Tensor:
        while name not in self._ready:
            layer = next(self.layers)
            for suffix, value in layer.weight.tensors().items():
                require_finite(f"{layer.name}.{suffix}", value)
                self._ready[f"{layer.name}.{suffix}"] = value
            self.outcomes.append(layer.outcome)
        return self._ready.pop(name)


def layout_of(linear: LinearPlan, grid: GridOptions) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype code, shape) of the tensors that a linear becomes."""
    n, m = linear.in_features, linear.out_features
    groups = n // grid.width(n)
    return {
        f"{linear.name}.qweight": ("I32", (n * grid.bits // PACK, m)),
        f"{linear.name}.qzeros": ("I32", (groups, m * grid.bits // PACK)),
        f"{linear.name}.g_idx": ("I32", (n,)),
        f"{linear.name}.scales": ("F16", (groups, m)),
    }


def layer_bytes(out_features: int, in_features: int, grid: GridOptions) -> int:
    """Bytes of the four tensors of a linear."""
    linear = LinearPlan("", Place(""), in_features, out_features)
    return sum(data_bytes(code, shape) for code, shape in layout_of(linear, grid).values())


def require_finite(name: str, value: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        WorkError: names the tensor.
    """
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise WorkError(
            "holds NaN or infinity",
            where=name,
            fix="check the checkpoint: it may come from a run that diverged",
        )
