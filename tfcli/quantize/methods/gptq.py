"""GPTQ: rounds with regard to what calibration saw of each linear's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.gptq import GPTQOptions, Hessian, gptq
from tfcli.quantize.solvers.grid import GridOptions, count_coarse_scales
from tfcli.quantize.spec import QuantizeSpec


class GPTQ(Method):
    """Collects a Hessian for each group of linears that share inputs, and quantizes from it."""

    calibrated: ClassVar[bool] = True
    layouts: ClassVar[tuple[str, ...]] = ("gptq", "awq")

    def __init__(self, spec: QuantizeSpec, group_size: int) -> None:
        super().__init__(spec, group_size)
        self.options = GPTQOptions(spec.damping, spec.act_order)
        self._hessians: dict[str, Hessian] = {}

    def format(self, name: str) -> GridOptions:
        """What it makes of every linear."""
        return GridOptions(*self.width(name), self.spec.symmetric, self.spec.clip_search)

    def check(self, linear: LinearPlan, weight: Tensor) -> None:
        """Refuse weights that need scales beyond those of the file."""
        super().check(linear, weight)
        count_coarse_scales(weight, self.format(linear.name), name=linear.stored_name)

    def observe(self, linears: Sequence[LinearPlan], inputs: Tensor, dense: Tensor | None) -> None:
        """Add a batch of inputs to the Hessian that the linears share."""
        if linears[0].name not in self._hessians:
            hessian = Hessian.empty(inputs.shape[-1], inputs.device)
            self._hessians.update({linear.name: hessian for linear in linears})
        self._hessians[linears[0].name].add(inputs)

    def forget(self, linear: LinearPlan) -> None:
        """Without its Hessian a weight is rounded to nearest."""
        self._hessians.pop(linear.name, None)

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear.

        Where nothing was observed every input counts as never active: the weight is rounded to
        nearest.
        """
        grid = self.format(linear.name)
        unseen = Hessian.empty(weight.shape[1], weight.device)
        hessian = self._hessians.pop(linear.name, unseen)
        result = gptq(weight, hessian, grid, self.options, name=linear.stored_name)
        return Quantized(
            result.weight,
            output_error=result.error,
            damping=result.damping,
            dead_inputs=result.dead,
            coarse_scales=count_coarse_scales(weight, grid, name=linear.stored_name),
        )

    def notes(self) -> dict[str, Any]:
        """What GPTQModel says of its own."""
        order = self.options.act_order
        return {
            "damp_percent": self.options.damping,
            "static_groups": order,
            "act_order": order,
        }
