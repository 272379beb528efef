"""Round to nearest, without any data."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tfcli.models.layouts.inputs import Inputs
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.grid import GridOptions, are_normal, count_coarse_scales
from tfcli.quantize.solvers.rtn import round_to_nearest


class RTN(Method):
    """Each weight goes to the nearest level of its group."""

    layouts: ClassVar[tuple[str, ...]] = ("gptq", "awq", "compressed-tensors", "mlx", "torchao")

    def format(self, name: str) -> GridOptions:
        """What it makes of every linear."""
        search = self.spec.scale_search or "max"
        inputs = Inputs("int8") if self.spec.round_inputs else None
        return GridOptions(*self.width(name), self.spec.symmetric, search, inputs=inputs)

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear."""
        grid = self.format(linear.name)
        values = round_to_nearest(weight, grid)
        coarse = 0
        if not are_normal(values.scales):
            coarse = count_coarse_scales(weight, grid, name=linear.stored_name)
        return Quantized(values, coarse_scales=coarse)
