"""How much memory a quantization takes at most, known from shapes alone."""

from __future__ import annotations

from tfcli.quantize.output import Output
from tfcli.quantize.plan import LinearPlan, Unit
from tfcli.quantize.solvers.grid import AT_ONCE
from tfcli.quantize.text import window_length

FIXED_BYTES = 256_000_000  # what a process holds beside tensors: libraries, pieces and buffers
_FLOAT = 4
_COPIES = 6
"""Of a weight in a solver: its columns, levels and errors, and what their update makes."""
_WIDE = 8
"""Of the widest activation of a batch, while a block runs: inputs, gates, and what SDPA holds."""


def peak_bytes(output: Output) -> int:
    """An upper bound of the memory that is taken, beside the mapped checkpoint."""
    if not output.method.calibrated:
        tensors = output.checkpoint.tensors
        weights = [linear.weights for linear in output.plan.linears]
        kept = [tensors[each.stored].nbytes for each in output.plan.kept]
        return 2 * max([_FLOAT * max(weights), *kept]) + FIXED_BYTES
    plan = output.plan
    blocks = (_block(output, unit) for unit in plan.blocks)
    heads = (_head(output, linear) for linear in plan.heads)
    return FIXED_BYTES + max(_outside(output), *blocks, *heads)


def _outside(output: Output) -> int:
    """What runs up to the first block: the embedding, as it is stored, and a batch."""
    tensors = output.checkpoint.tensors
    tables = sum(tensors[kept.stored].nbytes for kept in output.plan.units[0].kept)
    inside = [linear for unit in output.plan.blocks for linear in unit.linears]
    return tables + _activations(output, inside)


def _block(output: Output, unit: Unit) -> int:
    """A block in fp32, beside it as it was, what was observed, and the linear at hand."""
    if not unit.linears:
        return 0
    method, tensors = output.method, output.checkpoint.tensors
    block = _FLOAT * sum(linear.weights for linear in unit.linears)
    block += sum(2 * tensors[kept.stored].nbytes for kept in unit.kept)
    squares = _FLOAT * method.squares * max(linear.in_features for linear in unit.linears) ** 2
    solver = max(_solver(linear) for linear in unit.linears)
    return 2 * block + squares + solver + _activations(output, unit.linears)


def _head(output: Output, head: LinearPlan) -> int:
    """What was observed of a head's inputs, and beside it first what runs up to it, then its weight
    and what that becomes. Its outputs are never made."""
    squares = _FLOAT * output.method.squares * head.in_features**2
    return squares + max(_outside(output), 2 * _FLOAT * head.weights + _solver(head))


def _solver(linear: LinearPlan) -> int:
    return _FLOAT * _COPIES * min(linear.weights, AT_ONCE)


def _activations(output: Output, linears: list[LinearPlan]) -> int:
    spec = output.spec
    tokens = spec.batch_size * window_length(spec, output.checkpoint)
    widest = max(max(each.in_features, each.out_features) for each in linears)
    return _FLOAT * _WIDE * tokens * widest
