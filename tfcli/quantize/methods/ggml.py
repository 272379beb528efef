"""RTN and GPTQ into the block types of GGUF, whose grids are more than scales and zero points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor

from tfcli.models.layouts.ggml import GGMLFormat
from tfcli.process_group import Processes
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.methods.shared import SharedStatistics
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.ggml.solve import (
    Damped,
    require_room,
    round_into_blocks,
    solve_into_blocks,
)
from tfcli.quantize.solvers.hessian import energy
from tfcli.quantize.spec import QuantizeSpec


class Blocks(Method):
    """What both have in common: the type of a linear is given, not made from bits and groups.

    Args:
        spec: what was asked for.
        types: full name of each linear -> its block type, where no override says another.

    Attributes:
        importance: full name of each linear -> the mean square of each input, fp32 [n], of those
            of which it is known.
        keep: is called with each linear that was calibrated, the sum of squares of each input,
            fp32 [n], and the number of tokens.
    """

    layouts: ClassVar[tuple[str, ...]] = ("gguf",)

    importance: Mapping[str, Tensor] = MappingProxyType({})
    keep: Callable[[LinearPlan, Tensor, int], None] | None = None

    def __init__(self, spec: QuantizeSpec, types: Mapping[str, str]) -> None:
        super().__init__(spec, -1)
        self.types = types

    def format(self, name: str) -> GGMLFormat:
        """The type of a linear."""
        return GGMLFormat.of(self.word(name) or self.types[name])

    def check(self, linear: LinearPlan, weight: Tensor) -> None:
        """Refuse weights that float16 scales cannot reach."""
        super().check(linear, weight)
        require_room(weight, name=linear.stored_name)


class BlockRTN(Blocks):
    """Each weight goes to the nearest level, on the grid where that costs least."""

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear."""
        kind, seen = self.format(linear.name).kind, self.importance.get(linear.name)
        return Quantized(round_into_blocks(weight, kind, seen, name=linear.stored_name))


class BlockGPTQ(Blocks):
    """Collects statistics for each group of linears that share inputs, and quantizes from it."""

    calibrated: ClassVar[bool] = True
    squares = 5  # H, its factor, and what the solver makes of both

    def __init__(self, spec: QuantizeSpec, types: Mapping[str, str]) -> None:
        super().__init__(spec, types)
        self.statistics = SharedStatistics()

    def observe(self, linears: Sequence[LinearPlan], inputs: Tensor, dense: Tensor | None) -> None:
        """Add a batch of inputs to the statistics that the linears share."""
        self.statistics.add(linears, inputs, None)

    def merge(self, linears: Sequence[LinearPlan], processes: Processes) -> None:
        """The sums over the tokens of all processes, of which the first one writes."""
        self.statistics.merge(linears, processes)
        if not processes.first:
            self.keep = None

    def forget(self, linear: LinearPlan) -> None:
        """Drop the statistics of a linear; without any a weight is rounded to nearest."""
        self.statistics.drop(linear)

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear; where nothing was observed, it is rounded to nearest."""
        kind, name = self.format(linear.name).kind, linear.stored_name
        statistics = self.statistics.of(linear)
        if statistics is None:
            rounded = round_into_blocks(weight, kind, name=name)
            return Quantized(rounded, output_error=0.0, dead_inputs=weight.shape[1])
        statistics.close(name=name)
        if self.keep is not None:
            self.keep(linear, statistics.fit.inputs.diagonal(), int(statistics.tokens))
        factor = statistics.factor("activation", weight.shape[1], self.spec.damping, name=name)
        hessian = statistics.fit.inputs
        values = solve_into_blocks(weight, kind, Damped.of(hessian, factor), name=name)
        original = weight.float()
        size = energy(original, hessian)
        lost = energy(original - values.dequantize(), hessian)
        return Quantized(
            values,
            output_error=max(0.0, lost) / size if size else 0.0,
            damping=factor.damping,
            dead_inputs=int((hessian.diagonal() == 0).sum()),
        )
