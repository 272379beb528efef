"""What becomes of every tensor of base and adapter, settled before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.io.dtypes import FLOATS
from tfcli.checkpoints.io.file_tensor import Values
from tfcli.checkpoints.io.tensor_pieces import pieces, same_bits
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.merge.adapter import Adapter
from tfcli.merge.arithmetic import Edit
from tfcli.merge.names import Names
from tfcli.merge.shape import require_whole, reshaped
from tfcli.merge.spec import Action
from tfcli.models.rules import Place


@dataclass
class Planned:
    """One tensor of the output.

    Args:
        name: its name.
        origin: the base's tensor whose values it has before any change; None where there is none.
        dtype: the type that it has in the base.
        shape: as it is written.
        tied: it had its values from a partner before the two were written apart.
        whole: the adapter's tensor that takes the place of these values.
        edits: what is done to them then.
    """

    name: str
    origin: str | None
    dtype: str
    shape: tuple[int, ...]
    tied: bool = False
    whole: str | None = None
    edits: list[Edit] = field(default_factory=list)

    @property
    def action(self) -> Action:
        """As in `MergedTensor`."""
        if self.edits:
            return "merged"
        if self.whole is not None:
            return "added" if self.origin is None else "replaced"
        return "untied" if self.tied else "copied"


class Plan:
    """The output of a merge.

    Args:
        base: the dense checkpoint.
        adapter: what is worked in.

    Raises:
        WorkError: tensors of the adapter that fit nothing in the base; names them.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter) -> None:
        self.base, self.adapter = base, adapter
        self._names = Names(base, inputs_first=adapter.stores_inputs_first)
        self.made = reshaped(base, adapter, self._names)
        self.config: dict[str, Any] = base.config if self.made is None else self.made.config
        self.tensors = {item.name: item for item in self._planned()}
        self._at = {item.origin: item for item in self.tensors.values()}
        self.left_out = [name for name in base.distinct if name not in self._at]
        self.untied: list[str] = []
        self._unused = list(adapter.unknown)
        for parameter, stored in adapter.whole.items():
            self._replace(parameter, stored)
        for module in adapter.modules:
            self._change(module)
        if self._unused:
            raise _unused(self._unused, adapter)
        if self.made is not None:
            lacking = [item.name for item in self.tensors.values() if self._lacks(item)]
            require_whole(lacking, self.made, adapter)
        self._settle_ties()

    def _planned(self) -> Iterator[Planned]:
        """Every tensor of the output before the adapter changes it."""
        if self.made is None or self.made.task is None:
            for name in self.base.distinct:
                yield self._copy(name, name)
            return
        dtype = next(info.dtype for info in self.base if info.dtype in FLOATS)
        for stored, parameter in self.made.tensors.items():
            place = self._names.place(parameter)
            if place is None:
                yield Planned(stored, None, dtype, self.made.shapes[parameter])
            else:
                yield self._copy(stored, place.name)

    def _copy(self, name: str, origin: str, *, tied: bool = False) -> Planned:
        info = self.base.tensors[origin]
        return Planned(name, origin, info.dtype, info.shape, tied=tied)

    def _lacks(self, item: Planned) -> bool:
        """Whether a tensor has no values of the shape that the config asks for."""
        if item.whole is not None or self.made is None:
            return False
        parameter = self.made.tensors.get(item.name) or self.made.place(item.name)
        stacked = parameter is not None and self._index(parameter) is not None
        wanted = None if parameter is None or stacked else self.made.shapes[parameter]
        return item.origin is None or wanted not in (None, item.shape)

    def _index(self, parameter: str) -> int | None:
        place = self._names.place(parameter)
        return None if place is None else place.index

    def _target(self, parameter: str) -> tuple[Planned, Place] | None:
        """The output tensor that a parameter is in; a tied one gets a tensor of its own."""
        place = self._names.place(parameter)
        if place is not None and place.name in self._at:
            return self._at[place.name], place
        tie = self._names.tie(parameter)
        if tie is not None:
            origin = self._names.place(self.base.ties[tie])
            if origin is None:
                return None
            planned = self.tensors.setdefault(tie, self._copy(tie, origin.name, tied=True))
            return planned, Place(tie, None, origin.transposed)
        name = None if self.made is None else self.made.place(parameter)
        new = [item for item in self.tensors.values() if item.origin is None]
        found = next((item for item in new if self._is(item, name)), None)
        return None if found is None else (found, Place(found.name))

    def _is(self, item: Planned, parameter: str | None) -> bool:
        return self.made is not None and self.made.tensors.get(item.name) == parameter

    def _replace(self, parameter: str, stored: str) -> None:
        found = self._target(parameter)
        if found is None or found[1].index is not None:
            self._unused.append(stored)
            return
        planned, shape = found[0], self.adapter.source.info(stored).shape
        if planned.shape != shape and not self._reshapes(parameter, shape):
            raise WorkError(
                f"{short(stored)} is {list(shape)}, the base has {list(planned.shape)}",
                where=str(self.adapter.folder),
                fix="merge into the base that it was trained on",
            )
        _require_floats(planned, self.base)
        # PEFT stores an embedding that it was trained beside, though it is the base's own.
        if planned.origin is None or planned.shape != shape or not self._holds(planned, stored):
            planned.whole, planned.shape = stored, shape

    def _reshapes(self, parameter: str, shape: tuple[int, ...]) -> bool:
        """Whether the config that is written asks for a parameter of this shape."""
        name = None if self.made is None else self.made.place(parameter)
        return name is not None and self.made is not None and self.made.shapes[name] == shape

    def _holds(self, planned: Planned, stored: str) -> bool:
        """Whether the base has the very values of an adapter's tensor."""
        assert planned.origin is not None
        return _same_values(self.adapter.source[stored], self.base.tensors[planned.origin].values)

    def _change(self, module: str) -> None:
        roles = self.adapter.modules[module]
        for leaf, edit, used in _edits(self.adapter, module):
            found = self._target(f"{module}.{leaf}")
            if found is None:
                self._unused += used
                continue
            planned, place = found
            transposed = place.transposed and "embedding_a" not in roles
            edit = replace(edit, index=place.index, transposed=transposed)
            _require_floats(planned, self.base)
            _require_fit(edit, planned, next(iter(roles.values())), self.adapter)
            planned.edits.append(edit)

    def _settle_ties(self) -> None:
        """Write a tied pair apart where the adapter changes one of the two, or both differently."""
        pairs = {}
        for name, origin in self.base.ties.items():
            place = self._names.place(origin)
            if place is not None and place.name in self._at and self._has(name):
                pairs[name] = self._at[place.name]
        apart = [name for name, partner in pairs.items() if self._differ(name, partner)]
        if not apart:
            return
        # One key of the config is for all pairs.
        for name, partner in pairs.items():
            if name not in self.tensors and partner.origin is not None:
                copy = self._copy(name, partner.origin, tied=True)
                if partner.whole in self.adapter.in_place:
                    copy = replace(copy, whole=partner.whole, shape=partner.shape)
                self.tensors[name] = copy
        self.untied = list(pairs)
        self.config = {**self.config, "tie_word_embeddings": False}

    def _has(self, name: str) -> bool:
        """Whether the model that is written has a tied parameter."""
        return self.made is None or self.made.place(name) is not None

    def _differ(self, name: str, partner: Planned) -> bool:
        own = self.tensors.get(name)
        if own is None:
            if partner.whole is None or partner.whole in self.adapter.in_place:
                changed = bool(partner.edits)
            else:  # of another shape, the partner's are all there are
                changed = partner.shape == self._copy(name, str(partner.origin)).shape
            return changed and not self.adapter.keeps_ties
        if own.edits or partner.edits or own.whole is None or partner.whole is None:
            return True
        source = self.adapter.source
        if not same_bits(source[own.whole], source[partner.whole]):
            return True
        del self.tensors[name]  # both were replaced by the same values
        return False


def _edits(adapter: Adapter, module: str) -> Iterator[tuple[str, Edit, list[str]]]:
    """The parameter of a module, what happens to it, and the tensors that are lost without it."""
    roles = adapter.modules[module]
    if "ia3" in roles:
        factor = adapter.source[roles["ia3"]]
        if factor.dim() != 2 or 1 not in factor.shape:
            raise WorkError(
                f"{short(roles['ia3'])} is {list(factor.shape)}, which is no row or column",
                where=str(adapter.folder),
            )
        yield "weight", Edit(factor=factor), [roles["ia3"]]
        if factor.shape[1] == 1:  # it scales outputs, and so what a bias adds to them
            yield "bias", Edit(factor=factor), []
        return
    a, b = ("embedding_a", "embedding_b") if "embedding_a" in roles else ("a", "b")
    left, right = adapter.tensor(module, b), adapter.tensor(module, a)
    if left is None or right is None:
        raise WorkError(
            f"{module}: the adapter holds {', '.join(map(short, roles.values()))} and lacks the "
            "other factor",
            where=str(adapter.folder),
        )
    _require_rank(adapter, module, left, right)
    magnitude = adapter.tensor(module, "magnitude")
    if (adapter.method == "dora") != (magnitude is not None):
        raise WorkError(
            f"use_dora and the tensors of {module} do not agree", where=str(adapter.folder)
        )
    scale = adapter.scale(module)
    used = [name for role, name in roles.items() if role != "bias"]
    if a == "embedding_a":
        edit = Edit(left=right.t(), right=left.t(), scale=scale)
        edit = replace(edit, by_column=adapter.magnitudes_by_column)
    else:
        edit = Edit(left=left, right=right, scale=scale)
    if magnitude is not None:
        edit = replace(edit, magnitude=magnitude.reshape(-1))
    yield "weight", edit, used
    bias = adapter.tensor(module, "bias")
    if bias is not None:
        one = torch.ones(1, 1)
        yield "bias", Edit(left=bias[:, None], right=one, scale=scale), [roles["bias"]]


def _same_values(whole: torch.Tensor, stored: Values) -> bool:
    return all(torch.equal(new.to(old.dtype), old) for new, old in pieces(whole, stored))


def _require_rank(adapter: Adapter, module: str, left: torch.Tensor, right: torch.Tensor) -> None:
    if not left.numel() or not right.numel():
        raise WorkError(
            f"{module}: a factor is empty ({list(left.shape)} and {list(right.shape)})",
            where=str(adapter.folder),
            fix="save the adapter again, with the weights gathered where they are spread over "
            "processes",
        )
    rank = adapter.rank(module) or left.shape[-1]
    found = [left.shape[-1], right.shape[0]] if left.dim() == right.dim() == 2 else []
    if found != [rank, rank]:
        raise WorkError(
            f"{module}: the factors are {list(left.shape)} and {list(right.shape)}, "
            f"which is not of rank {rank} as the config says",
            where=str(adapter.folder),
        )


def _require_fit(edit: Edit, planned: Planned, name: str, adapter: Adapter) -> None:
    """Refuse an edit whose shape is not that of the base's tensor."""
    part = torch.empty(planned.shape, device="meta")
    fits = edit.index is None or part.dim() > 1
    matrix = edit.matrix(part) if fits and part.dim() > 0 else part
    fits = matrix.dim() == 2
    if fits:
        fits = all(
            wanted in (None, there) for wanted, there in zip(edit.size, matrix.shape, strict=True)
        )
        per = matrix.shape[1] if edit.by_column else matrix.shape[0]
        fits = fits and (edit.magnitude is None or edit.magnitude.numel() == per)
    if not fits:
        rows, columns = edit.size
        raise WorkError(
            f"{short(name)} changes a weight of {rows or 'any'} x {columns or 'any'}, "
            f"the base's {short(planned.name)} is {' x '.join(map(str, matrix.shape))}",
            where=str(adapter.folder),
            fix="merge into the base that the adapter was trained on",
        )


def _require_floats(planned: Planned, base: Checkpoint) -> None:
    if planned.dtype not in FLOATS:
        raise WorkError(
            f"{short(planned.name)} holds {planned.dtype} values, which an adapter cannot change",
            where=str(base.path),
            fix="merge into a checkpoint in bf16, fp16 or fp32",
        )


def _unused(names: list[str], adapter: Adapter) -> WorkError:
    shown = ", ".join(short(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    fix = "merge into the base that it was trained on"
    if adapter.base:
        fix += f"; the adapter names {short(adapter.base)}"
    if all(".lora_B." in name and name.endswith(".bias") for name in names):
        fix = "lora_bias adds to biases, and the base has none there: it cannot be merged"
    if set(names) <= set(adapter.unknown):
        fix = f"they are no tensors of a kind that is merged; let {adapter.wrote} merge it"
    return WorkError(
        f"{len(names)} of {len(adapter.source)} tensors of the adapter fit nothing in the base: "
        f"{shown}{more}",
        where=str(adapter.folder),
        fix=fix,
    )
