"""Statistics that linears with the same inputs share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tfcli.process_group import Processes
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.hessian import Statistics


class SharedStatistics:
    """What was observed of linears, by their full names.

    Args:
        choose_drift: hold tokens out where the dense model's inputs are seen too, to choose by them
            how much of the drift counts.
    """

    def __init__(self, *, choose_drift: bool = False) -> None:
        self.choose_drift = choose_drift
        self._kept: dict[str, Statistics] = {}

    def __len__(self) -> int:
        return len({id(kept) for kept in self._kept.values()})

    def add(self, linears: Sequence[LinearPlan], inputs: Tensor, dense: Tensor | None) -> None:
        """Add a batch, [..., s, n], of the inputs that linears share; see `Method.observe`."""
        if linears[0].name not in self._kept:
            self._begin(linears, inputs.device, drift=dense is not None)
        self._kept[linears[0].name].add(inputs, dense)

    def merge(self, linears: Sequence[LinearPlan], processes: Processes) -> None:
        """Sum over the tokens of all processes, also where this one has seen none of an expert."""
        if linears[0].name not in self._kept:
            self._begin(linears, processes.device)
        processes.add(*self._kept[linears[0].name].sums)

    def drop(self, linear: LinearPlan) -> None:
        """Drop what was observed of a linear, if anything was."""
        self._kept.pop(linear.name, None)

    def of(self, linear: LinearPlan) -> Statistics | None:
        """What was observed of a linear; None where nothing was."""
        return self._kept.get(linear.name)

    def _begin(
        self, linears: Sequence[LinearPlan], device: torch.device, *, drift: bool = False
    ) -> None:
        hold_out = drift and self.choose_drift
        features = linears[0].in_features
        kept = Statistics.empty(features, drift=drift, hold_out=hold_out, device=device)
        self._kept.update({linear.name: kept for linear in linears})
