"""Packed weights in another layout, without loss: the same values, stored as other readers want."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.packed.linears import PackedLinear, find_packed
from tfcli.checkpoints.packed.unpack import method_of, sources, without_packing
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError, WorkError
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.registry import runs_packed
from tfcli.models.layouts.torchao_header import without_told
from tfcli.models.loading import build
from tfcli.models.registry import read_config
from tfcli.models.walks import linears_of

if TYPE_CHECKING:
    from torch import Tensor


def relaid(checkpoint: Checkpoint, layout: type[Layout]) -> Checkpoint:
    """The checkpoint with its packed linears in another layout; tensors are made when read.

    Raises:
        UsageError: it is dense, or the layout cannot hold what is packed; says why.
        WorkError: packed tensors that do not fit the config.
    """
    if not runs_packed(method_of(checkpoint)):
        raise UsageError(
            f"the weights are {'packed otherwise' if method_of(checkpoint) else 'dense'}",
            where=str(checkpoint.path / CONFIG),
            fix="tfcli quantize writes any layout",
        )
    linears = find_packed(checkpoint)
    packings = {linear.name: _packing(linear, layout) for linear in linears}
    tensors: dict[str, TensorEntry] = {}
    held = {part for linear in linears for part in linear.parts}
    for name, entry in checkpoint.tensors.items():
        if name not in held:
            tensors[name] = entry
    for linear in linears:
        packing = packings[linear.name]
        made = _once(partial(_repacked, linear, packing, checkpoint))
        behind = sources([p for p in linear.parts if p in checkpoint.tensors], checkpoint)
        for part, like in packing.parts(linear.in_features, linear.out_features).items():
            name, code = f"{linear.name}.{part}", dtype_code(like.dtype)
            read = partial(made, part)
            how = f"from the layout {checkpoint.config['quantization_config']['quant_method']}"
            tensors[name] = TensorEntry(name, code, like.shape, behind, how, read)
    model = build(read_config(without_packing(checkpoint.config)))
    inside = linears_of(model)
    kept = [name for name in inside if name not in packings]
    every = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    outside = [name for name in every if name not in inside and name not in packings]
    chains = [walk.blocks for walk in model.walks]
    packed = layout.of(Packed(packings, kept, chains, outside=outside))
    dense = without_packing(checkpoint.config)
    others = [name for name in checkpoint.tensors if name not in held]
    texts = packed.header(
        [replace(linear, packing=packings[linear.name]) for linear in linears],
        others,
        dense,
    )
    return replace(
        checkpoint,
        tensors=tensors,
        config=packed.written_in(dense),
        metadata={**without_told(checkpoint.metadata), **texts},
    )


def _packing(linear: PackedLinear, layout: type[Layout]) -> Packing:
    """How the layout stores a linear.

    Raises:
        UsageError: it cannot.
    """
    form = linear.packing.format
    problem = layout.refusal(form)
    if problem is None:
        packing = layout.packing_for(form)
        problem = packing.misfit(linear.in_features, linear.out_features)
        if problem is None:
            return packing
    raise UsageError(
        f"the layout {layout.name} cannot hold {short(linear.name)} ({form}): {problem}",
        where="to_layout",
        fix="quantize the dense checkpoint for that layout",
    )


def _repacked(linear: PackedLinear, packing: Packing, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The parts of a linear in another packing.

    Raises:
        WorkError: the numbers do not allow it.
    """
    values = linear.open(checkpoint)
    problem = None
    try:
        parts = packing.pack(values)
    except ValueError as error:
        problem = str(error)
    else:
        if not packing.unpack(parts).equals(values):
            problem = "its types round them"
    if problem is not None:
        raise WorkError(
            f"the values of {short(linear.name)} cannot be held by the layout: {problem}",
            where=str(checkpoint.path),
            fix="quantize the dense checkpoint for that layout",
        )
    return parts


def _once(make: Callable[[], dict[str, Tensor]]) -> Callable[[str], Tensor]:
    """Gives parts that are made together, each of them once, and keeps those not yet asked for."""
    ready: dict[str, Tensor] = {}

    def take(part: str) -> Tensor:
        if part not in ready:
            ready.update(make())
        return ready.pop(part)

    return take
