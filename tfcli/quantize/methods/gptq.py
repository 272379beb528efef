"""GPTQ: rounds with regard to what calibration saw of each linear's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

from torch import Tensor

from tfcli.process_group import Processes
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.methods.shared import SharedStatistics
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.gptq import GPTQOptions, gptq
from tfcli.quantize.solvers.grid import GridOptions, count_coarse_scales
from tfcli.quantize.solvers.hessian import Statistics
from tfcli.quantize.spec import QuantizeSpec


class GPTQ(Method):
    """Collects statistics for each group of linears that share inputs, and quantizes from them."""

    calibrated: ClassVar[bool] = True
    layouts: ClassVar[tuple[str, ...]] = ("gptq", "awq", "compressed-tensors", "mlx", "torchao")

    def __init__(self, spec: QuantizeSpec, group_size: int) -> None:
        super().__init__(spec, group_size)
        self.drifts = spec.drift != 0
        self.options = GPTQOptions(
            damping=spec.damping,
            order=spec.order,
            static_groups=spec.static_groups or spec.order == "activation",
            drift=None if spec.drift == "auto" else spec.drift,
            refine=spec.refine,
        )
        self.squares = 2 if not self.drifts else 6 if spec.drift == "auto" else 3
        self.statistics = SharedStatistics(choose_drift=spec.drift == "auto")

    def format(self, name: str) -> GridOptions:
        """What it makes of every linear."""
        search = self.spec.scale_search or "hessian"
        return GridOptions(*self.width(name), self.spec.symmetric, search)

    def at(self, word: str) -> Self:
        """See `Method.at`: the dense model's inputs have not drifted."""
        other = super().at(word)
        other.options = replace(self.options, drift=0.0)
        return other

    def check(self, linear: LinearPlan, weight: Tensor) -> None:
        """Refuse weights that need scales beyond those of the file."""
        super().check(linear, weight)
        count_coarse_scales(weight, self.format(linear.name), name=linear.stored_name)

    def observe(self, linears: Sequence[LinearPlan], inputs: Tensor, dense: Tensor | None) -> None:
        """Add a batch of inputs to the statistics that the linears share."""
        self.statistics.add(linears, inputs, dense if self.drifts else None)

    def merge(self, linears: Sequence[LinearPlan], processes: Processes) -> None:
        """The sums over the tokens of all processes."""
        self.statistics.merge(linears, processes)

    def forget(self, linear: LinearPlan) -> None:
        """Drop the statistics of a linear; without any a weight is rounded to nearest."""
        self.statistics.drop(linear)

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear.

        Where nothing was observed every input counts as never active: all errors cost alike, and
        each weight goes to its nearest level.
        """
        grid = self.format(linear.name)
        unseen = Statistics.empty(weight.shape[1], device=weight.device)
        statistics = self.statistics.of(linear) or unseen
        result = gptq(weight, statistics, grid, self.options, name=linear.stored_name)
        return Quantized(
            result.weight,
            output_error=result.error,
            damping=result.damping,
            dead_inputs=result.dead,
            coarse_scales=count_coarse_scales(weight, grid, name=linear.stored_name),
        )

    def notes(self) -> dict[str, Any]:
        """What GPTQModel says of its own, and what it has no words for."""
        return {
            "damp_percent": self.options.damping,
            "static_groups": self.options.static_groups,
            "scale_search": self.spec.scale_search or "hessian",
            "order": self.options.order,
            "drift": self.spec.drift,
            "refine": self.options.refine,
        }
