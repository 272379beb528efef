"""The work of a quantization: every unit that is not done is quantized, written and read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from torch import Tensor

from tfcli.checkpoints.checkpoint import Weights
from tfcli.console import Bar
from tfcli.process_group import ALONE, Processes
from tfcli.quantize.finite import require_finite
from tfcli.quantize.methods.method import Method
from tfcli.quantize.output import Output
from tfcli.quantize.plan import LinearPlan, Plan, Unit
from tfcli.quantize.write import BlockFiles, LayerResult
from tfcli.recipe.job import Job
from tfcli.several_cores import ahead

if TYPE_CHECKING:
    from tfcli.quantize.runs import Visitor
    from tfcli.quantize.text import CalibrationText
    from tfcli.quantize.walk import Done, Walk


def require_sound(output: Output, files: BlockFiles) -> None:
    """Refuse numbers that cannot be kept or quantized, before the long work.

    Raises:
        WorkError: names the tensor.
    """
    method, source = output.method, output.checkpoint.weights
    for unit in output.plan.units:
        if files.outcomes(unit) is not None:
            continue
        for kept in unit.kept:
            require_finite(kept.stored, source[kept.stored])
        for linear in unit.linears if method.calibrated else ():
            method.check(linear, weight_of(source, linear))


def quantize(
    output: Output,
    text: CalibrationText | None,
    files: BlockFiles,
    job: Job,
    processes: Processes = ALONE,
    *,
    visitor: Visitor | None = None,
) -> Walk | None:
    """Quantize and write every unit of a plan that is not done.

    Args:
        output: says what becomes of what.
        text: for a method that is calibrated.
        files: where it is written.
        job: shows how far it is.
        processes: that share the windows; the first one writes.
        visitor: see `Walk`.

    Returns:
        The walk, which has ended, of a method that is calibrated.
    """
    method, plan = output.method, output.plan
    title = f"quantize ({output.spec.method})"
    walk = None
    with job.console.progress(title, len(plan.linears), "linear") as bar:
        if text is None:
            source = output.checkpoint.weights
            units = _weight_by_weight(
                method, plan, source, lambda unit: files.outcomes(unit) is not None
            )
        else:
            from tfcli.quantize.calibrate import share_of, walk_of

            walk = walk_of(
                output,
                method,
                share_of(text.windows, processes),
                files.scratch,
                files.finished,
                kept=files.kept,
                processes=processes,
                visitor=visitor,
            )
            units = _block_by_block(walk, plan)
        for unit, layers, changed in units:
            if processes.first and files.outcomes(unit) is None:
                files.write(unit, _counted(layers, bar), changed)
            else:
                bar.advance(len(unit.linears))
    return walk


def weight_of(source: Weights, linear: LinearPlan) -> Tensor:
    """The weight of a linear; of a stack of experts no other's."""
    place = linear.place
    if place.index is None:
        return place.read(source[place.name])
    return replace(place, index=None).read(source.entry(place.name, place.index))


Units = Iterator[tuple[Unit, Iterator[LayerResult], Mapping[str, Tensor]]]
"""The units of a plan, each with its linears as they are quantized, and by full name what the
method changed beside them."""


def _weight_by_weight(
    method: Method, plan: Plan, source: Weights, done: Callable[[Unit], bool]
) -> Units:
    """Quantize weights straight from the file, one on each core at a time: those of the next unit
    while a unit is written and read again."""
    linears = [linear for unit in plan.units if not done(unit) for linear in unit.linears]

    def layer(number: int, _: int) -> LayerResult:
        linear = linears[number]
        weight = weight_of(source, linear)
        method.check(linear, weight)
        return LayerResult.of(linear, weight, method.quantize(linear, weight))

    layers = ahead(layer, len(linears), 1)
    for unit in plan.units:
        yield unit, iter(()) if done(unit) else islice(layers, len(unit.linears)), {}


def _block_by_block(walk: Walk, plan: Plan) -> Units:
    """Quantize block after block, each on what those before it give."""
    yield plan.units[0], iter(()), {}
    for unit, done in walk.run(plan.units[1:]):
        yield unit, (_result_of(each) for each in done), walk.changed


def _result_of(done: Done) -> LayerResult:
    return LayerResult.of(
        done.linear, done.weight, done.quantized, tokens=done.tokens, enough=done.enough
    )


def _counted(layers: Iterator[LayerResult], bar: Bar) -> Iterator[LayerResult]:
    for layer in layers:
        bar.advance()
        yield layer
