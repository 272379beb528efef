"""A written graph is run, and must answer as the model did that it was made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from tfcli.convert.exports.graph import Graph, answers
from tfcli.convert.exports.inputs import Inputs, Shape, batch
from tfcli.errors import WorkError
from tfcli.models.layers.moe import MixtureOfExperts

if TYPE_CHECKING:
    from tfcli.convert.exports.formats import Run

Known = list[tuple[Inputs, dict[str, Tensor]]]

# Other sizes than the traced one, with padding on both sides, and the smallest.
SHAPES = (Shape(2, 17, left=3, right=4), Shape(1, 1), Shape(4, 6, left=2))
SINGLE = (Shape(1, 17, right=4), Shape(1, 1), Shape(1, 6, left=2))
# Where two experts have nearly the same score, rounding decides: a token may go to another one than
# in the model. So many positions of a mixture may differ by more than the bound.
ROUTED_ELSEWHERE = 0.1


@dataclass(frozen=True)
class Agreement:
    """How well a graph answers.

    Args:
        outputs: how many were compared.
        largest: difference of a number, by the largest absolute one of its output.
    """

    outputs: int
    largest: float


def known_answers(graph: Graph, *, rows: int | None) -> Known:
    """Seeded batches and what the model answers.

    Args:
        graph: of the model.
        rows: the size of every batch; None: of several sizes.
    """
    shapes = SHAPES if rows is None else SINGLE
    batches = [batch(graph.model, shape, seed) for seed, shape in enumerate(shapes, start=1)]
    return [(inputs, answers(graph, inputs)) for inputs in batches]


def spared(model: nn.Module) -> float:
    """The share of positions whose difference does not count."""
    mixed = any(isinstance(module, MixtureOfExperts) for module in model.modules())
    return ROUTED_ELSEWHERE if mixed else 0.0


def compare(run: Run, known: Known, bound: float, spare: float, where: str) -> Agreement:
    """Run a graph on the batches.

    Args:
        run: the graph.
        known: what it should answer.
        bound: of the difference, by the largest absolute number of an output.
        spare: share of positions that may differ by more.
        where: the file, for errors.

    Raises:
        WorkError: another shape, or a larger difference.
    """
    outputs, largest = 0, 0.0
    # Over all batches: the one number of the smallest may be near 0 by chance.
    scales = {
        name: max(float(answer[name].abs().max()) for _, answer in known) or 1.0
        for name in known[0][1]
    }
    for inputs, expected in known:
        found = run(inputs)
        for name, value in expected.items():
            sizes = tuple(inputs["input_ids"].shape)
            if name not in found or found[name].shape != value.shape:
                has = tuple(found[name].shape) if name in found else "nothing"
                raise WorkError(
                    f"verification: for input_ids of shape {sizes} the graph's {name} is {has}, "
                    f"the model's {tuple(value.shape)}",
                    where=where,
                )
            gaps = differences(value, found[name], spare)
            worst, counted = (gap / scales[name] for gap in gaps)
            if not counted <= bound:  # and not >, which NaN is not either
                raise WorkError(
                    f"verification: for input_ids of shape {sizes} the graph's {name} differs from "
                    f"the model's by {counted:.2g} of its largest number (allowed: {bound:.2g})",
                    where=where,
                    fix="export it in fp32 (--dtype fp32) or to another format, and report the "
                    "family with its config.json",
                )
            outputs, largest = outputs + 1, max(largest, worst)
    return Agreement(outputs, largest)


def differences(expected: Tensor, found: Tensor, spare: float) -> tuple[float, float]:
    """The largest difference, and the largest of those that count.

    Args:
        expected (Tensor): [..., n]
        found (Tensor): of the same shape.
        spare: share of positions, the worst ones, that do not count; what is no number counts.
    """
    if not bool(found.isfinite().all()):
        return math.nan, math.nan
    gap = (found.double() - expected.double()).abs().flatten(0, -2).amax(-1).sort().values
    kept = gap[: max(1, len(gap) - int(spare * len(gap)))]
    return float(gap[-1]), float(kept[-1])
