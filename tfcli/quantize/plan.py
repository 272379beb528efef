"""What will become of every tensor, settled before any long work begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tfcli.errors import UsageError, WorkError
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.values import Format
from tfcli.models.matching import LoadAccount, match_names
from tfcli.models.model import Model
from tfcli.models.rules import Place
from tfcli.models.saving import stored_place

DEFAULT_GROUP_SIZES = (128, 64, 32)
"""Tried in this order. 32 divides whatever can be packed."""


@dataclass(frozen=True)
class LinearPlan:
    """A linear that will be quantized.

    Args:
        name: full name of the module.
        place: where the checkpoint keeps its weight.
        in_features: inputs.
        out_features: outputs.
        packing: how it will be stored.
    """

    name: str
    place: Place
    in_features: int
    out_features: int
    packing: Packing

    @property
    def stored_name(self) -> str:
        """Its weight's name in the checkpoint."""
        return self.place.name


@dataclass
class Plan:
    """What will become of every tensor of a checkpoint.

    Args:
        linears: what will be quantized, in execution order.
        kept: name in the checkpoint -> (name to write, reason).
        dropped: name in the checkpoint -> reason.
        skipped: full names of the linears that stay as they are on request.
        blocks: dotted path of the block list.
    """

    linears: list[LinearPlan] = field(default_factory=list)
    kept: dict[str, tuple[str, str]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    blocks: str = ""

    def packed(self, notes: Mapping[str, Any]) -> Packed:
        """What the config is to say."""
        packings = {linear.name: linear.packing for linear in self.linears}
        return Packed(packings, self.skipped, [self.blocks], notes)

    @property
    def skips_alike(self) -> bool:
        """Whether every block leaves out the same linears."""
        done = {linear.name.removeprefix(f"{self.blocks}.") for linear in self.linears}
        left = {name.removeprefix(f"{self.blocks}.") for name in self.skipped}
        return not {_inner(name) for name in done} & {_inner(name) for name in left}


def make_plan(
    model: Model,
    source: Mapping[str, Tensor],
    *,
    format_of: Callable[[str], Format],
    layout: type[Layout],
    skip: list[str],
) -> Plan:
    """Decide for every tensor whether it is quantized.

    All linears inside the blocks are, unless `skip` names them.

    Args:
        model: on the meta device; only its shapes count.
        source: the checkpoint; only its names count.
        format_of: what the method makes of the linear with a full name.
        layout: that the result is stored in.
        skip: regular expressions on full module names.

    Raises:
        UsageError: a linear cannot be quantized at this group size, or a pattern matches nothing.
        WorkError: the family declares no calibration walk, or one that leaves linears out.
        ModelError: the checkpoint does not fit the model.
    """
    account = LoadAccount()
    names = match_names(model, source, model.state_dict(keep_vars=True), account)
    plan = Plan(dropped=dict(account.skipped), blocks=model.calibration.blocks)
    unused = set(skip)
    reasons: dict[str, str] = {}
    for name, linear in _linears(model):
        pattern = next((pattern for pattern in skip if re.search(pattern, name)), None)
        if pattern is not None:
            unused.discard(pattern)
            plan.skipped.append(name)
            reasons[f"{name}.weight"] = f"named by skip: {pattern}"
            continue
        packing = _packing(name, linear, format_of(name), layout)
        stored = names.pop(f"{name}.weight", None)
        if stored is None:
            raise WorkError(f"the checkpoint lacks {name}.weight", where=type(model).__name__)
        plan.linears.append(
            LinearPlan(name, stored, linear.in_features, linear.out_features, packing)
        )
        reasons[f"{name}.bias"] = "a bias"
    if unused:
        raise UsageError(
            f"skip: {sorted(unused)[0]!r} matches no linear of a block",
            fix="names look like " + next(name for name, _ in _linears(model)),
        )
    if not plan.linears:
        raise UsageError("skip: leaves nothing to quantize", fix="skip fewer linears")
    inside = model.calibration.blocks + "."
    for name, stored in names.items():
        default = "not a linear" if name.startswith(inside) else "outside of the blocks"
        plan.kept[stored.name] = (stored_place(model, name).name, reasons.get(name, default))
    return plan


def default_group_size(model: Model, skip: list[str]) -> tuple[int, str | None]:
    """The group size where none is asked for, and the linear that keeps it from being larger.

    A linear that none of them divides is left to `make_plan`, which refuses it.
    """
    widths = {
        name: linear.in_features
        for name, linear in _linears(model)
        if not any(re.search(pattern, name) for pattern in skip)
    }
    culprit = None
    for size in DEFAULT_GROUP_SIZES:
        uneven = next((name for name, width in widths.items() if width % size), None)
        if uneven is None:
            return size, culprit
        culprit = culprit or uneven
    return DEFAULT_GROUP_SIZES[0], None


def _linears(model: Model) -> list[tuple[str, nn.Linear]]:
    """Full names and modules of all linears inside the blocks, in execution order."""
    walk = getattr(model, "calibration", None)
    if walk is None:
        raise WorkError(
            f"{type(model).__name__} declares no calibration walk, so it cannot be quantized"
        )
    found: list[tuple[str, nn.Linear]] = []
    for position, block in enumerate(model.blocks):
        inside = {name: part for name, part in block.named_modules() if isinstance(part, nn.Linear)}
        named = walk.linears(block)
        left_out = set(inside) - set(named)
        if left_out:
            raise WorkError(
                f"the calibration walk of {type(model).__name__} leaves out {sorted(left_out)[0]}",
                where=f"{walk.blocks}.{position}",
            )
        found += [(f"{walk.blocks}.{position}.{name}", inside[name]) for name in named]
    return found


def _inner(name: str) -> str:
    """`3.mlp.up_proj` -> `mlp.up_proj`."""
    return name.partition(".")[2]


def _packing(name: str, linear: nn.Linear, form: Format, layout: type[Layout]) -> Packing:
    """How a linear will be stored.

    Raises:
        UsageError: the layout has no such format, or none for a linear of these sizes.
    """
    problem = layout.refusal(form)
    if problem:
        raise UsageError(f"{layout.name}: {problem}", where="layout")
    packing = layout.packing_for(form)
    problem = packing.misfit(linear.in_features, linear.out_features)
    if form.group_size != -1 and linear.in_features % form.group_size:
        problem = f"has {linear.in_features} inputs, not a multiple of group_size {form.group_size}"
    if problem:
        raise UsageError(
            f"{name} {problem}",
            where="group_size",
            fix="choose a group_size that divides it, or name the linear in skip",
        )
    return packing
