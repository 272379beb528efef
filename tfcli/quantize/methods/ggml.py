"""RTN and GPTQ into the block types of GGUF, whose grids are more than scales and zero points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from tfcli.models.layouts.ggml import GGMLFormat
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.ggml.solve import (
    Damped,
    require_room,
    round_into_blocks,
    solve_into_blocks,
)
from tfcli.quantize.solvers.gptq import GPTQOptions, Hessian, output_error
from tfcli.quantize.spec import QuantizeSpec


class _Blocks(Method):
    """What both have in common: the type of a linear is given, not made from bits and groups.

    Args:
        spec: what was asked for.
        types: full name of each linear -> its block type.
    """

    layouts: ClassVar[tuple[str, ...]] = ("gguf",)

    def __init__(self, spec: QuantizeSpec, types: Mapping[str, str]) -> None:
        super().__init__(spec, -1)
        self.types = types

    def format(self, name: str) -> GGMLFormat:
        """The type of a linear."""
        return GGMLFormat.of(self.types[name])

    def check(self, linear: LinearPlan, weight: Tensor) -> None:
        """Refuse weights that float16 scales cannot reach."""
        super().check(linear, weight)
        require_room(weight, name=linear.stored_name)


class BlockRTN(_Blocks):
    """Each weight goes to the nearest level, on the grid where that costs least."""

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear."""
        kind = self.types[linear.name]
        return Quantized(round_into_blocks(weight, kind, name=linear.stored_name))


class BlockGPTQ(_Blocks):
    """Collects a Hessian for each group of linears that share inputs, and quantizes from it."""

    calibrated: ClassVar[bool] = True

    def __init__(self, spec: QuantizeSpec, types: Mapping[str, str]) -> None:
        super().__init__(spec, types)
        self.options = GPTQOptions(spec.damping, act_order=True)
        self._hessians: dict[str, Hessian] = {}

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
        """Quantize the weight of a linear; where nothing was observed, it is rounded to nearest."""
        kind, name = self.types[linear.name], linear.stored_name
        hessian = self._hessians.pop(linear.name, Hessian.empty(weight.shape[1], weight.device))
        if not hessian.count:
            rounded = round_into_blocks(weight, kind, name=name)
            return Quantized(rounded, output_error=0.0, dead_inputs=weight.shape[1])
        prepared = hessian.prepare(self.options, name=name)
        seen = Damped.of(hessian.matrix, prepared.factor, prepared.order, prepared.damping)
        values = solve_into_blocks(weight, kind, seen, name=name)
        return Quantized(
            values,
            output_error=output_error(weight.float(), values.dequantize(), hessian.matrix),
            damping=prepared.damping,
            dead_inputs=int((hessian.matrix.diagonal() == 0).sum()),
        )
