"""Packed weights in another layout, without loss: the same values, stored as other readers want."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.packed.linears import (
    PackedLinear,
    by_tensor,
    dense_entry,
    find_packed,
)
from tfcli.checkpoints.packed.unpack import method_of, sources, without_packing
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError, WorkError
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.offset import Offset
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.registry import runs_packed
from tfcli.models.layouts.torchao_header import without_told
from tfcli.models.layouts.values import Affine, AffineFormat
from tfcli.models.loading import build
from tfcli.models.registry import read_config
from tfcli.models.walks import linears_of

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.models.model import Model


def relaid(
    checkpoint: Checkpoint, layout: type[Layout], linears: list[PackedLinear] | None = None
) -> Checkpoint:
    """The checkpoint with its packed linears in another layout; tensors are made when read. Packed
    tables of embeddings become dense ones in fp32, exactly so, where the layout packs none.

    Args:
        checkpoint: with packed weights.
        layout: that they go to.
        linears: that are packed; None for those that the checkpoint's config tells.

    Raises:
        UsageError: it is dense, or the layout cannot hold what is packed; says why.
        WorkError: packed tensors that do not fit the config.
    """
    method = method_of(checkpoint) if linears is None else checkpoint.container
    if not linears and not runs_packed(method):
        packed_so = f"weights of {method} are in no layout that has others"
        raise UsageError(
            packed_so if linears is None and method else _dense(checkpoint),
            where=str(checkpoint.path),
            fix="tfcli quantize writes any layout of a dense checkpoint",
        )
    linears = linears or find_packed(checkpoint)
    model = build(read_config(without_packing(checkpoint.config)))
    tables = [each for each in linears if _is_table(model, each.name)]
    dense_tables = [] if layout.tables else tables
    linears = [each for each in linears if each not in dense_tables]
    middle = all(_is_symmetric(linear, checkpoint) for linear in linears)
    packings = {linear.name: _packing(linear, layout, middle) for linear in linears}
    tensors: dict[str, TensorEntry] = {}
    held = {part for linear in (*linears, *dense_tables) for part in linear.parts}
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
            how = f"from the layout {method}"
            tensors[name] = TensorEntry(name, code, like.shape, behind, how, read)
    for stored, stack in by_tensor(dense_tables).items():
        tensors[stored] = dense_entry(stored, stack, checkpoint, "F32")
    inside = linears_of(model)
    kept = [name for name in inside if name not in packings]
    every = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    outside = [name for name in every if name not in inside and name not in packings]
    outside += [n for n in model.head_names if model.word_head in outside and n not in outside]
    chains = [walk.blocks for walk in model.walks]
    packed = layout.of(Packed(packings, kept, chains, outside=outside))
    names = {table.name for table in tables}
    _require_said(packed, model, {n: p for n, p in packings.items() if n not in names})
    dense = without_packing(checkpoint.config)
    others = [name for name in checkpoint.tensors if name not in held]
    others += [table.place.name for table in dense_tables]
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


def _dense(checkpoint: Checkpoint) -> str:
    """Why there are no packed weights; some containers are always read as dense ones."""
    made = any(tensor.how.endswith("dequantized") for tensor in checkpoint)
    return f"weights of {checkpoint.container} are read dense" if made else "the weights are dense"


def _is_table(model: Model, name: str) -> bool:
    """Whether a packed tensor is a table of embeddings, which few layouts pack."""
    return isinstance(dict(model.named_modules()).get(name), nn.Embedding)


def _require_said(layout: Layout, model: Model, packings: Mapping[str, Packing]) -> None:
    """Refuse linears of which the layout's config cannot say whether they are packed.

    Raises:
        UsageError: names one.
    """
    told = layout.linears(model)
    for name in [*packings, *told]:
        # Of a packing with a sign the tensors tell which linears are dense.
        if (name in packings) != (name in told) and (name in packings or told[name].sign is None):
            is_so = "packed" if name in packings else "dense"
            raise UsageError(
                f"the layout {layout.name} cannot say that {short(name)} is {is_so}",
                where="to_layout",
                fix="quantize the dense checkpoint for that layout",
            )


def _is_symmetric(linear: PackedLinear, checkpoint: Checkpoint) -> bool:
    """Whether every zero point is the middle level, though the layout may store them."""
    form = linear.packing.format
    if not isinstance(form, AffineFormat) or form.symmetric:
        return True
    values = linear.open(checkpoint)
    middle = 1 << (form.bits - 1)
    return isinstance(values, Affine) and bool((values.zeros == middle).all())


def _packing(linear: PackedLinear, layout: type[Layout], symmetric: bool) -> Packing:
    """How the layout stores a linear.

    Args:
        linear: packed otherwise.
        layout: that it goes to.
        symmetric: all zero points of the checkpoint are the middle level. A config says it once, so
            one linear by itself does not count.

    Raises:
        UsageError: it cannot.
    """
    form = linear.packing.format
    if isinstance(form, AffineFormat) and symmetric:
        form = replace(form, symmetric=True)
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
        offsets = isinstance(values, Offset)  # which are zero points where they can be
        problem = "their offsets are no whole steps" if offsets else str(error)
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
