"""Small floats: weights of 8 or 4 bits that are rounded without any data."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tfcli.models.layouts.floats import FloatFormat
from tfcli.models.layouts.inputs import Inputs
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.floats import round_to_floats

BLOCK = 128
"""Outputs and inputs of a block of 8-bit floats, as DeepSeek-V3 and its readers have them."""


class _Floats(Method):
    """Each weight goes to the nearest float of its block."""

    layouts: ClassVar[tuple[str, ...]] = ("compressed-tensors", "torchao")
    form: FloatFormat

    def format(self, name: str) -> FloatFormat:
        """What it makes of every linear."""
        return self.form

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear."""
        return Quantized(round_to_floats(weight, self.form))


class FP8(_Floats):
    """Floats of 8 bits (e4m3) with a scale for the tensor, each row, or each block."""

    @property
    def form(self) -> FloatFormat:  # type: ignore[override]
        """As the spec asks."""
        outputs, inputs = {
            "tensor": (-1, -1),
            "channel": (1, -1),
            "block": (BLOCK, BLOCK),
        }[self.spec.scales]
        if not self.spec.round_inputs:
            return FloatFormat(8, inputs, outputs)
        if self.spec.scales == "block":
            rounded = Inputs("e4m3", "group", BLOCK)
        else:
            rounded = Inputs("e4m3", "token")
        return FloatFormat(8, inputs, outputs, inputs=rounded)


class MXFP4(_Floats):
    """Floats of 4 bits (e2m1), 32 of which share a power of two."""

    form = FloatFormat(4, 32, scale="e8m0")


class NVFP4(_Floats):
    """Floats of 4 bits (e2m1), 16 of which share an 8-bit float over one for the whole weight."""

    form = FloatFormat(4, 16, scale="e4m3")
