"""How much memory a quantization takes at most, known from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tfcli.quantize.output import Output
from tfcli.quantize.plan import LinearPlan, Unit
from tfcli.quantize.solvers.grid import AT_ONCE
from tfcli.quantize.text import window_length

FIXED_BYTES = 300_000_000  # what a process holds beside tensors: libraries, pieces and buffers
_FLOAT = 4
_MARGIN = 1.25
"""Of what is counted of weights that are quantized one by one: pieces and holes come on top."""
_COPIES = 6
"""Of a weight in a solver: its columns, levels and errors, and what their update makes."""
_WIDE = 8
"""Of the widest activation of a batch, while a block runs: inputs, gates, and what SDPA holds."""


def peak_bytes(output: Output) -> int:
    """An upper bound of the memory that is taken, beside the mapped checkpoint."""
    if not output.method.calibrated:
        return FIXED_BYTES + int(_MARGIN * tensor_bytes(output))
    return FIXED_BYTES + tensor_bytes(output)


def tensor_bytes(output: Output) -> int:
    """What tensors take when they take most: near to it where weights are quantized one by one, and
    an upper bound where blocks run."""
    if not output.method.calibrated:
        return _weight_by_weight(output, torch.get_num_threads())
    plan = output.plan
    blocks = (_block(output, unit) for unit in plan.blocks)
    heads = (_head(output, linear) for linear in plan.heads)
    return max(_outside(output), *blocks, *heads)


def _weight_by_weight(output: Output, threads: int) -> int:
    """The largest tensor that is kept, which is looked at whole; or as many linears as there are
    threads, and the results that wait for their turn in the file (`ahead`)."""
    tensors, linears = output.checkpoint.tensors, output.plan.linears
    most = max((tensors[each.stored].nbytes for each in output.plan.kept), default=0)
    sizes = [_at_hand(output, linear) for linear in linears]
    waiting = 2 * threads if threads > 1 else 0
    for place in range(len(linears)):
        done = linears[max(0, place - waiting) : place]
        most = max(most, sum(sizes[place : place + threads]) + _written(done))
    return most


def _at_hand(output: Output, linear: LinearPlan) -> int:
    """A weight as it is stored, its levels, what these become, and the levels read from that."""
    stored = output.checkpoint.tensors[linear.stored_name]
    weight = stored.nbytes * linear.weights // math.prod(stored.shape)
    return weight + 2 * linear.weights + linear.nbytes


def _written(linears: Sequence[LinearPlan]) -> int:
    return sum(linear.nbytes for linear in linears)


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
