"""What will become of every tensor, settled before any long work begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tfcli.errors import UsageError, WorkError
from tfcli.models.layouts.layout import Packed, Storage
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.values import Format
from tfcli.models.matching import LoadAccount, match_names
from tfcli.models.model import Model
from tfcli.models.rules import Place
from tfcli.models.saving import stored_place
from tfcli.models.walks import linears_of
from tfcli.quantize.spec import QuantizeSpec

DEFAULT_GROUP_SIZES = (128, 64, 32)
"""Tried in this order. 32 divides whatever can be packed."""


@dataclass(frozen=True)
class LinearPlan:
    """A linear, or a table of embeddings, that will be quantized.

    Args:
        name: full name of the module.
        place: where the checkpoint keeps its weight.
        in_features: inputs.
        out_features: outputs.
        packing: how it will be stored.
        tied: its weight is that of a table, which stays as it is; what is written is its own.
    """

    name: str
    place: Place
    in_features: int
    out_features: int
    packing: Packing
    tied: bool = False

    @property
    def stored_name(self) -> str:
        """Its weight's name in the checkpoint."""
        return self.place.name

    @property
    def reported(self) -> str:
        """What reports call its weight: its name in the checkpoint, or its own if it was tied."""
        return f"{self.name}.weight" if self.tied else self.stored_name

    @property
    def remark(self) -> str | None:
        """What reports say of it."""
        return f"apart from {self.stored_name}, which it was tied to" if self.tied else None

    @property
    def weights(self) -> int:
        """How many weights it has."""
        return self.in_features * self.out_features

    @property
    def nbytes(self) -> int:
        """Bytes of what it becomes."""
        return self.packing.nbytes(self.in_features, self.out_features)


@dataclass(frozen=True)
class KeptPlan:
    """A tensor that is copied as it is.

    Args:
        stored: its name in the checkpoint.
        written: its name in what is written.
        reason: why it is not quantized.
    """

    stored: str
    written: str
    reason: str


@dataclass
class Unit:
    """What one file holds: a block, a head that is quantized, or everything else.

    Args:
        path: of the block or the head; empty for what is outside.
        linears: what will be quantized, in execution order.
        kept: what will not.
    """

    path: str
    linears: list[LinearPlan] = field(default_factory=list)
    kept: list[KeptPlan] = field(default_factory=list)


@dataclass
class Plan:
    """What will become of every tensor of a checkpoint.

    Args:
        units: one a file: what is outside of the blocks, the blocks in execution order, and the
            head if it is quantized.
        places: name in the model -> where the checkpoint keeps it.
        tied: name in the model -> the name that it shares.
        dropped: name in the checkpoint -> reason.
        skipped: full names of the linears that stay as they are on request.
        chains: dotted paths of the lists of blocks.
        outside: full names of what else has a matrix that stays as it is, tables aside.
        head: full name of the head if it is quantized.
    """

    units: list[Unit]
    places: dict[str, Place]
    tied: dict[str, str]
    dropped: dict[str, str]
    skipped: list[str]
    chains: list[str]
    outside: list[str]
    head: str | None = None

    @property
    def blocks(self) -> list[Unit]:
        """The units of blocks."""
        return [unit for unit in self.units[1:] if unit.path != self.head]

    @property
    def heads(self) -> list[LinearPlan]:
        """The head, if it is quantized."""
        return [linear for linear in self.linears if linear.name == self.head]

    @property
    def linears(self) -> list[LinearPlan]:
        """What will be quantized, in execution order."""
        return [linear for unit in self.units for linear in unit.linears]

    @property
    def kept(self) -> list[KeptPlan]:
        """What will not."""
        return [tensor for unit in self.units for tensor in unit.kept]

    def packed(self, notes: Mapping[str, Any]) -> Packed:
        """What the config is to say."""
        packings = {linear.name: linear.packing for linear in self.linears}
        return Packed(packings, self.skipped, self.chains, notes, self.outside)


def make_plan(
    model: Model,
    source: Mapping[str, Tensor],
    *,
    format_of: Callable[[str], Format],
    layout: type[Storage],
    choice: Choice,
    head: str | None = None,
    tables: Sequence[str] = (),
) -> Plan:
    """Decide for every tensor whether it is quantized.

    Args:
        model: on the meta device; only its shapes count.
        source: the checkpoint; only its names count.
        format_of: what the method makes of the linear with a full name.
        layout: that the result is stored in.
        choice: which linears of blocks are quantized.
        head: full name of the head that is quantized too.
        tables: full names of the tables of embeddings that are.

    Raises:
        UsageError: a linear cannot be quantized at this group size, or a pattern matches nothing.
        WorkError: the family declares no calibration walk, or one that leaves linears out.
        ModelError: the checkpoint does not fit the model.
    """
    account = LoadAccount()
    names = match_names(model, source, model.state_dict(keep_vars=True), account)
    linears = linears_of(model)
    reasons = choice.reasons(list(linears), tables)
    units = {"": Unit("")}
    for chain in model.walks:
        for position, _ in enumerate(model.get_submodule(chain.blocks).children()):
            units[f"{chain.blocks}.{position}"] = Unit(f"{chain.blocks}.{position}")
    left = dict(names)
    chosen = [*tables, *(name for name in linears if name not in reasons)]
    if head is not None:
        chosen.append(head)
        units[head] = Unit(head)
        if layout.heads is False:
            raise UsageError(f"{layout.name}: its readers take no packed head", where="head")
    for name in chosen:
        sizes = sizes_of(model.get_submodule(name))
        packing = _packing(name, sizes, format_of(name), layout, is_head=name == head)
        stored = left.pop(f"{name}.weight", None)
        tied = stored is None and name == head and f"{name}.weight" in account.tied
        if tied:
            stored = names[account.tied[f"{name}.weight"]]
        if stored is None:
            raise WorkError(f"the checkpoint lacks {name}.weight", where=type(model).__name__)
        _unit_of(name, units).linears.append(LinearPlan(name, stored, *sizes, packing, tied))
    seen = set()
    for name, place in left.items():
        if place.name in seen:
            continue  # one of a stack, which is written once
        seen.add(place.name)
        unit = _unit_of(name, units)
        reason = reasons.get(name.removesuffix(".weight")) or _reason(name, unit, linears)
        unit.kept.append(KeptPlan(place.name, stored_place(model, name).name, reason))
    return Plan(
        units=list(units.values()),
        places=names,
        tied=dict(account.tied),
        dropped=dict(account.skipped),
        skipped=list(reasons),
        chains=[chain.blocks for chain in model.walks],
        outside=_outside(model, {*linears, *chosen}),
        head=head,
    )


def sizes_of(module: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of what can be quantized. A table of embeddings is stored as the linear
    that makes scores of words from its rows' width."""
    if isinstance(module, nn.Embedding):
        return module.embedding_dim, module.num_embeddings
    assert isinstance(module, nn.Linear), "what is quantized is a linear or a table"
    return module.in_features, module.out_features


def _outside(model: Model, linears: Container[str]) -> list[str]:
    """What is none of these linears and has a matrix as its weight, tables aside; a head under all
    the names that its readers have for it."""
    return [
        each
        for name, module in model.named_modules()
        if name not in linears
        and not isinstance(module, nn.Embedding)
        and getattr(getattr(module, "weight", None), "ndim", 0) == 2
        for each in (model.head_names if name == model.word_head else (name,))
    ]


@dataclass(frozen=True)
class Choice:
    """Which linears are quantized.

    Args:
        include: regular expressions on full names; empty for all of them.
        exclude: regular expressions on full names that are not.
        overrides: regular expressions on full names that are quantized otherwise.
        unseen: full name of each linear that calibration does not reach -> why it stays as it is.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: QuantizeSpec, unseen: Mapping[str, str] | None = None) -> Choice:
        """What was asked for."""
        patterns = tuple(each.pattern.pattern for each in spec.exceptions())
        return cls(tuple(spec.include), tuple(spec.exclude), patterns, unseen or {})

    def tables(self, model: Model) -> list[str]:
        """Full names of the tables of embeddings that `include` names, and `exclude` does not."""
        return [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Embedding)
            and any(re.search(pattern, name) for pattern in self.include)
            and not any(re.search(pattern, name) for pattern in self.exclude)
        ]

    def reasons(self, names: list[str], tables: Sequence[str] = ()) -> dict[str, str]:
        """Full name of each linear that stays as it is -> why.

        Args:
            names: of the linears of blocks.
            tables: full names of the tables that are quantized.

        Raises:
            UsageError: a pattern that matches nothing, or no linear is left.
        """
        found = {name: self.unseen[name] for name in names if name in self.unseen}
        for name in names:
            if name in found:
                continue
            named = next((p for p in self.exclude if re.search(p, name)), None)
            if named is not None:
                found[name] = f"named by exclude: {named}"
            elif self.include and not any(re.search(p, name) for p in self.include):
                found[name] = "not named by include"
        for key in ("exclude", "include", "overrides"):
            for pattern in getattr(self, key):
                if not any(re.search(pattern, name) for name in (*names, *tables)):
                    raise UsageError(
                        f"{key}: {pattern!r} matches no linear of a block",
                        fix=f"names look like {names[0]}",
                    )
        if len(found) == len(names) and not tables:
            fix = "exclude fewer linears"
            if self.unseen:
                fix += f"; calibration does not reach {next(iter(self.unseen))} and others like it"
            raise UsageError("exclude: leaves nothing to quantize", fix=fix)
        return found


def default_group_size(
    model: Model, choice: Choice, head: str | None = None, tables: Sequence[str] = ()
) -> tuple[int, str | None]:
    """The group size where none is asked for, and the linear that keeps it from being larger.

    A linear that none of them divides is left to `make_plan`, which refuses it.

    Args:
        model: whose linears they are.
        choice: which of those in blocks are quantized.
        head: full name of a head that gets this group size too.
        tables: full names of the tables that do.
    """
    linears = list(linears_of(model))
    left_out = choice.reasons(linears, tables)
    names = [*(name for name in linears if name not in left_out), *tables]
    names += [] if head is None else [head]
    widths = {name: sizes_of(model.get_submodule(name))[0] for name in names}
    culprit = None
    for size in DEFAULT_GROUP_SIZES:
        uneven = next((name for name, width in widths.items() if width % size), None)
        if uneven is None:
            return size, culprit
        culprit = culprit or uneven
    return DEFAULT_GROUP_SIZES[0], None


def _unit_of(name: str, units: dict[str, Unit]) -> Unit:
    """The unit that a parameter or module lies in."""
    path = name
    while path:
        if path in units:
            return units[path]
        path = path.rpartition(".")[0]
    return units[""]


def _reason(name: str, unit: Unit, linears: dict[str, nn.Linear]) -> str:
    """Why a tensor that nobody named is not quantized."""
    if not unit.path:
        return "outside of the blocks"
    return "a bias" if name.removesuffix(".bias") in linears else "not a linear"


def _packing(
    name: str, sizes: tuple[int, int], form: Format, layout: type[Storage], *, is_head: bool
) -> Packing:
    """How a linear of these sizes will be stored.

    Raises:
        UsageError: the layout has no such format, or none for a linear of these sizes.
    """
    problem = layout.problem(form, *sizes)
    if problem is None:
        return layout.packing_for(form)
    if layout.refusal(form):
        raise UsageError(f"{layout.name}: {problem}", where="head" if is_head else "layout")
    raise UsageError(
        f"{name} {problem}",
        where="head" if is_head else "group_size",
        fix="name a group size that divides it, as in head: 8bit:32, or take another layout"
        if is_head
        else "choose a group_size that divides it, or name the linear in exclude",
    )
