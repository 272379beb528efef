"""HQQ: scales and zero points by a half-quadratic solver, without any data."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tfcli.models.layouts.hqq import HQQFormat
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.hqq import half_quadratic


class HQQ(Method):
    """Each group gets the zero point that makes the sum of |error|^0.7 small."""

    layouts: ClassVar[tuple[str, ...]] = ("hqq",)
    usual_group_size: ClassVar[int | None] = 64

    def format(self, name: str) -> HQQFormat:
        """What it makes of every linear."""
        spec = self.spec
        compute = spec.compute_dtype or "float16"
        return HQQFormat(*self.width(name), spec.axis, compute, spec.view_as_float)

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear."""
        return Quantized(half_quadratic(weight, self.format(linear.name)))
