"""AWQ: moves factors into what comes before linears, then clips and rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.folding import Fold
from tfcli.process_group import Processes
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.awq import Reader, Seen, clipped, search_factors
from tfcli.quantize.solvers.grid import AT_ONCE, GridOptions, count_coarse_scales
from tfcli.quantize.spec import QuantizeSpec


class AWQ(Method):
    """Keeps the products of each group's inputs; searches factors and ranges with them."""

    calibrated: ClassVar[bool] = True
    folds: ClassVar[bool] = True
    squares = 5  # the products of the inputs of each linear of a block, as all are seen before one
    layouts: ClassVar[tuple[str, ...]] = ("awq", "gptq", "compressed-tensors")

    def __init__(self, spec: QuantizeSpec, group_size: int) -> None:
        super().__init__(spec, group_size)
        self._seen: dict[str, Seen] = {}

    def format(self, name: str) -> GridOptions:
        """What it makes of every linear."""
        return GridOptions(*self.width(name), self.spec.symmetric)

    def check(self, linear: LinearPlan, weight: Tensor) -> None:
        """Refuse weights that need scales beyond those of the file."""
        super().check(linear, weight)
        count_coarse_scales(weight, self.format(linear.name), name=linear.stored_name)

    def observe(self, linears: Sequence[LinearPlan], inputs: Tensor, dense: Tensor | None) -> None:
        """Add a batch of inputs to what the linears share.

        Of experts, whose statistics are all there at once, only products within groups are kept.
        """
        first = linears[0].name
        if first not in self._seen:
            width = self._width(linears) if inputs.ndim == 2 else None
            seen = Seen.nothing(inputs.shape[-1], width, inputs.device)
            self._seen.update({linear.name: seen for linear in linears})
        self._seen[first].add(inputs)

    def _width(self, linears: Sequence[LinearPlan]) -> int:
        """Inputs of the widest group of linears; those of the others are parts of such groups."""
        return max(self.format(linear.name).width(linear.in_features) for linear in linears)

    def merge(self, linears: Sequence[LinearPlan], processes: Processes) -> None:
        """The means over the tokens of all processes."""
        first = linears[0]
        if first.name not in self._seen:  # an expert's
            unseen = Seen.nothing(first.in_features, self._width(linears), processes.device)
            self._seen.update({linear.name: unseen for linear in linears})
        seen = self._seen[first.name]
        own, whole = seen.count, torch.tensor(seen.count, device=processes.device)
        processes.add(whole)
        seen.count = int(whole)
        for mean in (seen.sizes, seen.products):
            processes.add(mean.mul_(own / seen.count))

    def forget(self, linear: LinearPlan) -> None:
        """See `Method.forget`: it is clipped nowhere then. It keeps the factors of its pair."""
        self._seen.pop(linear.name, None)

    def fold(
        self, fold: Fold, linears: Sequence[LinearPlan], weights: Sequence[Tensor]
    ) -> Tensor | None:
        """The factors for which rounding changes the outputs of the linears the least."""
        readers = [
            Reader(weight, self._seen[linear.name], self.format(linear.name))
            for linear, weight in zip(linears, weights, strict=True)
            if linear.name in self._seen
        ]
        for linear in linears:
            if linear.name in self._seen:
                self._seen[linear.name].require_finite(linear.stored_name)
        found = search_factors(readers, self.format(linears[0].name), fold.columns)
        if found.factors is None:
            return None
        folded: dict[int, Seen] = {}
        for linear in linears:
            seen = self._seen.get(linear.name)
            if seen is not None:
                if id(seen) not in folded:
                    folded[id(seen)] = seen.folded(found.factors)
                self._seen[linear.name] = folded[id(seen)]
        return fold.gathered(found.factors)

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear; an expert that nothing was seen of, in full ranges."""
        grid = self.format(linear.name)
        seen = self._seen.get(linear.name)
        if seen is not None:
            seen.require_finite(linear.stored_name)
        values = clipped(weight.float(), seen, grid)
        error = None
        if seen is not None:
            size = change = 0.0
            step = max(1, AT_ONCE // weight.shape[1])
            for start in range(0, len(weight), step):
                rows = weight[start : start + step]
                size += seen.cost(rows)
                change += seen.cost(values.rows(start, start + len(rows)).view_as(rows) - rows)
            error = max(0.0, change) / size if size > 0 else 0.0
        return Quantized(
            values,
            output_error=error,
            dead_inputs=None if seen is None else int((seen.sizes == 0).sum()),
            coarse_scales=count_coarse_scales(weight, grid, name=linear.stored_name),
        )

    def notes(self) -> dict[str, Any]:
        """Nothing: what it did is in the weights."""
        return {}
