"""SmoothQuant: 8-bit weights and inputs, after factors have made the inputs even."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.folding import Fold
from tfcli.models.layouts.inputs import Inputs
from tfcli.process_group import Processes
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.grid import GridOptions, count_coarse_scales
from tfcli.quantize.solvers.rtn import round_to_nearest
from tfcli.quantize.solvers.smooth import SAMPLED_TOKENS, Extent, smoothing_factors
from tfcli.quantize.spec import QuantizeSpec

INPUTS = Inputs("int8")
"""Whole numbers with a scale for each token, which is found when the model runs."""


class SmoothQuant(Method):
    """Keeps the largest value of each input, and some tokens to measure with."""

    calibrated: ClassVar[bool] = True
    folds: ClassVar[bool] = True
    layouts: ClassVar[tuple[str, ...]] = ("compressed-tensors",)
    usual_group_size: ClassVar[int | None] = -1

    def __init__(self, spec: QuantizeSpec, group_size: int) -> None:
        super().__init__(spec, group_size)
        self._seen: dict[str, Extent] = {}

    def format(self, name: str) -> GridOptions:
        """Bytes with one scale for each output, and inputs in bytes as well."""
        return GridOptions(8, -1, symmetric=True, inputs=INPUTS)

    def check(self, linear: LinearPlan, weight: Tensor) -> None:
        """Refuse weights that need scales beyond those of the file."""
        super().check(linear, weight)
        count_coarse_scales(weight, self.format(linear.name), name=linear.stored_name)

    def observe(self, linears: Sequence[LinearPlan], inputs: Tensor, dense: Tensor | None) -> None:
        """Add a batch of inputs to what the linears share."""
        first = linears[0].name
        if first not in self._seen:
            seen = Extent.nothing(inputs.shape[-1], inputs.device)
            self._seen.update({linear.name: seen for linear in linears})
        self._seen[first].add(inputs)

    def merge(self, linears: Sequence[LinearPlan], processes: Processes) -> None:
        """The largest inputs of all processes, and a share of the tokens that each has kept."""
        first = linears[0]
        if first.name not in self._seen:
            unseen = Extent.nothing(first.in_features, processes.device)
            self._seen.update({linear.name: unseen for linear in linears})
        seen = self._seen[first.name]
        processes.largest(seen.largest)
        share = SAMPLED_TOKENS // processes.count + 1
        own = seen.rows[:share]
        # Those that a process lacks are zeros, which make no error.
        rows = seen.rows.new_zeros(processes.count, share, first.in_features)
        rows[processes.rank, : len(own)] = own
        processes.add(rows)
        seen.rows = rows.flatten(0, 1)

    def forget(self, linear: LinearPlan) -> None:
        """See `Method.forget`: no error is measured with it. It keeps the factors of its pair."""
        self._seen.pop(linear.name, None)

    def fold(
        self, fold: Fold, linears: Sequence[LinearPlan], weights: Sequence[Tensor]
    ) -> Tensor | None:
        """The factors of the paper, of what all readers together have seen; None where the
        tokens that are kept say that outputs are no better with them."""
        seen = {n: self._seen[n] for n in (linear.name for linear in linears) if n in self._seen}
        if not seen:
            return None
        for linear in linears:
            if linear.name in seen:
                seen[linear.name].require_finite(linear.stored_name)
        largest = torch.stack([each.largest for each in seen.values()]).amax(0)
        strength = self.spec.smoothing
        factors = smoothing_factors(largest, weights, strength, shared=fold.columns)
        once = {id(each): each.folded(factors) for each in seen.values()}
        folded = {name: once[id(each)] for name, each in seen.items()}
        before = after = 0.0
        for linear, weight in zip(linears, weights, strict=True):
            if linear.name in seen:
                before += self._error(linear, weight, seen[linear.name])
                after += self._error(linear, weight * factors, folded[linear.name])
        if after >= before:
            return None
        self._seen.update(folded)
        return fold.gathered(factors)

    def _error(self, linear: LinearPlan, weight: Tensor, seen: Extent) -> float:
        """That of the outputs of a linear when its weight and its inputs are rounded."""
        rounded = round_to_nearest(weight, self.format(linear.name)).dequantize()
        return seen.error(weight.float(), rounded, INPUTS)

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Round the weight of a linear, which has its factors, to nearest."""
        grid, seen = self.format(linear.name), self._seen.pop(linear.name, None)
        error = dead = None
        if seen is not None:
            seen.require_finite(linear.stored_name)
            error = self._error(linear, weight, seen)
            dead = int((seen.largest == 0).sum())
        coarse = count_coarse_scales(weight, grid, name=linear.stored_name)
        values = round_to_nearest(weight, grid)
        return Quantized(values, output_error=error, dead_inputs=dead, coarse_scales=coarse)

    def notes(self) -> dict[str, Any]:
        """How much of the difficulty went into the weights."""
        return {"smoothing": self.spec.smoothing}
