"""An adapter on the base that it was trained on, tensor by tensor and exact: what a merge is held
against.

A layer with an adapter beside it computes what a layer with the changed weight does, so the two are
compared by their weights, or by running a model with the changed ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.packed.linears import by_tensor, find_packed, unpack_tensor
from tfcli.checkpoints.strict_json import short
from tfcli.console import Console
from tfcli.diff.compare import distance
from tfcli.errors import WorkError
from tfcli.merge.arithmetic import apply_edits
from tfcli.merge.plan import Plan, Planned


@dataclass(frozen=True)
class _Held:
    """A dense tensor of the base: its type, its shape, and what makes it."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def adapter_on(base: Checkpoint, plan: Plan) -> Checkpoint:
    """The tensors of a base with its adapter; those that are computed are fp32.

    Args:
        base: what the adapter was trained on; the plan's own base, or a quantized one.
        plan: of the merge.

    Raises:
        WorkError: a base whose packed tensors do not fit its config, or which is not the dense one
            quantized: names or shapes differ.
    """
    held = _dense(base)
    tensors = {}
    for item in plan.tensors.values():
        found = None if item.origin is None else held.get(item.origin)
        wanted = None if item.origin is None else plan.base.tensors[item.origin].shape
        if item.origin is not None and (found is None or found.shape != wanted):
            shape = "is not there" if found is None else f"is {list(found.shape)}"
            raise WorkError(
                f"{short(item.origin)} {shape}; the dense checkpoint has {list(wanted or ())}",
                where=str(base.path),
                fix="name the checkpoint that the base was quantized from",
            )
        code = "F32" if item.edits or found is None else found.dtype
        if item.whole is not None and not item.edits:
            code = plan.adapter.source.info(item.whole).dtype
        read = partial(_read, plan, item, found)
        sources = (item.whole or item.origin or "",)
        tensors[item.name] = TensorEntry(item.name, code, item.shape, sources, "", read)
    return Checkpoint("merge", plan.adapter.folder, plan.config, tensors, ())


def divergences(unmerged: Checkpoint, written: Checkpoint, console: Console) -> dict[str, float]:
    """How far each written tensor is from the unmerged one: the largest distance of a value,
    divided by the largest value."""
    found = {}
    with console.progress("comparing with the base", len(unmerged.tensors), "tensors") as bar:
        for tensor in unmerged:
            apart = distance(tensor.read(), written.tensors[tensor.name].read())
            if apart is not None:
                found[tensor.name] = apart.relative
            bar.advance()
    return found


def _dense(base: Checkpoint) -> dict[str, _Held]:
    """Every dense tensor that a base holds or stands for."""
    linears = find_packed(base) if base.is_quantized else []
    parts = {name for linear in linears for name in linear.parts}
    held = {}
    for name in base.distinct:
        if name not in parts:
            info = base.tensors[name]
            held[name] = _Held(info.dtype, info.shape, info.read)
    for name, found in by_tensor(linears).items():
        shape: tuple[int, ...] = found[0].shape
        if found[0].place.index is not None:
            shape = (len(found), *shape)
        held[name] = _Held("F32", shape, partial(unpack_tensor, found, base, torch.float32))
    return held


def _read(plan: Plan, item: Planned, held: _Held | None) -> Tensor:
    if item.whole is not None:
        values = plan.adapter.source[item.whole]
    else:
        assert held is not None, "the plan refuses a tensor without values"
        values = held.read()
    if not item.edits:
        return values
    return apply_edits(values, item.edits, torch.float32, item.name)[0]
