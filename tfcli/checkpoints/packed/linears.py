"""The packed linears of a checkpoint, in any layout, and the dense tensors that they become."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.family_rules import family_rules
from tfcli.checkpoints.io.dtypes import torch_dtype
from tfcli.checkpoints.packed.unpack import Unpacked, dense_code, sources, without_packing
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, WorkError
from tfcli.models.layouts.layout import ReadLayout
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.registry import layout_of
from tfcli.models.layouts.values import Values
from tfcli.models.loading import build
from tfcli.models.registry import read_config
from tfcli.models.rules import Place, place_of


@dataclass(frozen=True)
class PackedLinear:
    """A linear whose weight is packed.

    Args:
        name: full name of the module.
        packing: how.
        in_features: inputs.
        out_features: outputs.
        place: where a dense checkpoint keeps its weight.
    """

    name: str
    packing: Packing
    in_features: int
    out_features: int
    place: Place

    @property
    def parts(self) -> list[str]:
        """Names of the tensors that it may be packed in."""
        parts = self.packing.parts(self.in_features, self.out_features)
        return [f"{self.name}.{part}" for part in parts]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the dense weight as it is stored."""
        shape = (self.in_features, self.out_features)
        return shape if self.place.transposed else shape[::-1]

    def open(self, checkpoint: Checkpoint) -> Values:
        """Its values; checked against the config.

        Raises:
            WorkError: a part is missing, or has another type or shape.
            ModelError: values that the config does not allow.
        """
        found = {}
        for part, like in self.packing.parts(self.in_features, self.out_features).items():
            name = f"{self.name}.{part}"
            if name in checkpoint.tensors:
                value = checkpoint.weights[name]
            else:
                value = self._left_out(part, checkpoint)
            if part.endswith("_scale") and _long(value.shape) == _long(like.shape):
                value = value.reshape(like.shape)  # programs leave axes of length 1 out
            if not like.takes(value.dtype) or not like.fits(tuple(value.shape)):
                raise WorkError(
                    f"{short(name)} is {value.dtype} {list(value.shape)}, "
                    f"by the config it is {like.dtype} {list(like.shape)}",
                    where=str(checkpoint.path),
                )
            found[part] = value
        self.packing.verify(found, self.name)
        return self.packing.unpack(found)

    def unpack(self, checkpoint: Checkpoint, dtype: torch.dtype) -> Tensor:
        """The dense weight as it is stored, rounded once to `dtype`.

        Raises:
            WorkError: as `open`.
        """
        weight = self.open(checkpoint).dequantize(dtype)
        return weight.t().contiguous() if self.place.transposed else weight

    def _left_out(self, part: str, checkpoint: Checkpoint) -> Tensor:
        try:
            value = self.packing.left_out(part, self.in_features, self.out_features)
        except ModelError as error:
            raise WorkError(
                f"{short(self.name)}: {error.what}", where=str(checkpoint.path), fix=error.fix
            ) from error
        if value is None:
            missing = short(f"{self.name}.{part}")
            raise WorkError(f"{missing} is missing", where=str(checkpoint.path))
        return value


def find_packed(checkpoint: Checkpoint) -> list[PackedLinear]:
    """The packed linears, in the checkpoint's order.

    Raises:
        ModelError: a method or a setting that is not unpacked; names the key.
        WorkError: the config and the tensors do not agree on what is packed.
    """
    where = str(checkpoint.path / CONFIG)
    layout = _layout(checkpoint.config["quantization_config"], where)
    rules = family_rules(checkpoint.config)
    packing_of = _by_model(layout, checkpoint) if layout.sized_by_model else layout.packing_of
    found = []
    for stored in checkpoint.tensors:
        name = next((stored.removesuffix(e) for e in layout.shown_by if stored.endswith(e)), None)
        if name is None:
            continue
        packing = packing_of(name)
        if packing is None:
            raise WorkError(
                f"{short(name)} is packed, and the config says that it is not",
                where=f"{where}, quantization_config",
            )
        weight = f"{name}.weight"
        place = place_of(rules[0], weight) if rules else Place(weight)
        sizes = _features(checkpoint, name, packing)
        problem = packing.misfit(*sizes)
        if problem is not None:
            raise WorkError(f"{short(name)} {problem}", where=str(checkpoint.path))
        linear = PackedLinear(name, packing, *sizes, place)
        linear.open(checkpoint)  # every linear is checked before anything is written
        found.append(linear)
    if not found:
        raise WorkError(
            "the config says that weights are packed, and none is",
            where=f"{where}, quantization_config",
            fix="remove quantization_config from config.json",
        )
    return found


def _by_model(layout: ReadLayout, checkpoint: Checkpoint) -> Callable[[str], Packing | None]:
    """How the linears of the checkpoint's model are packed, by their names.

    Raises:
        ModelError: the config is of no model.
    """
    dense = without_packing(checkpoint.config)
    model = build(read_config(dense), at_most=checkpoint.most_values)
    return layout.linears(model).get


def by_tensor(linears: list[PackedLinear]) -> dict[str, list[PackedLinear]]:
    """Name of a dense tensor -> the linears in it: one, or those of a stack in their order.

    Raises:
        WorkError: a stack of which some are packed and others are not.
    """
    found: dict[str, list[PackedLinear]] = {}
    for linear in linears:
        found.setdefault(linear.place.name, []).append(linear)
    for name, parts in found.items():
        parts.sort(key=lambda linear: linear.place.index or 0)
        places = [linear.place.index for linear in parts]
        if places not in ([None], list(range(len(parts)))):
            raise WorkError(f"{short(name)}: a part of this stack is not packed, or is there twice")
    return found


def unpack_tensor(
    linears: list[PackedLinear], checkpoint: Checkpoint, dtype: torch.dtype
) -> Tensor:
    """The dense tensor that one linear, or a stack of them, becomes."""
    if linears[0].place.index is None:
        return linears[0].unpack(checkpoint, dtype)
    stack = torch.empty((len(linears), *linears[0].shape), dtype=dtype)
    for target, linear in zip(stack, linears, strict=True):
        target.copy_(linear.unpack(checkpoint, dtype))
    return stack


def unpacked(checkpoint: Checkpoint, exact: Callable[[str], bool]) -> Unpacked:
    """The dense weights of a checkpoint in one of the layouts of the model core.

    Raises:
        WorkError: as `find_packed` and `by_tensor`.
    """
    linears = find_packed(checkpoint)
    parts = {part for linear in linears for part in linear.parts}
    unused = layout_of(checkpoint.config["quantization_config"]).unused
    parts |= {n for n in checkpoint.tensors if any(re.search(odd, n) for odd in unused)}
    dense, bits = {}, {}
    for name, stack in by_tensor(linears).items():
        bits[name] = _bits(stack)
        dense[name] = dense_entry(name, stack, checkpoint, dense_code(name, exact))
    return Unpacked(dense, frozenset(parts), bits)


def dense_entry(
    name: str, stack: list[PackedLinear], checkpoint: Checkpoint, code: str
) -> TensorEntry:
    """The dense tensor of a name that one linear, or a stack of them, becomes in a type."""
    shape: tuple[int, ...] = stack[0].shape
    if stack[0].place.index is not None:
        shape = (len(stack), *shape)
    read = partial(unpack_tensor, stack, checkpoint, torch_dtype(code))
    held = [part for linear in stack for part in linear.parts if part in checkpoint.tensors]
    how = f"{' and '.join(map(str, _bits(stack)))} bits dequantized"
    return TensorEntry(name, code, shape, sources(held, checkpoint), how, read)


def _bits(stack: list[PackedLinear]) -> list[int]:
    return sorted({linear.packing.format.bits for linear in stack})


def _features(checkpoint: Checkpoint, name: str, packing: Packing) -> tuple[int, int]:
    """Inputs and outputs of a linear; its tensors are only compared with them later.

    Raises:
        WorkError: the tensor with the levels is none.
    """
    try:
        found = packing.sizes(
            lambda part: checkpoint.tensors[f"{name}.{part}"].shape,
            lambda part: checkpoint.weights[f"{name}.{part}"],
        )
        if min(found) < 1:
            raise ValueError("a matrix without values")
        return found
    except (KeyError, ValueError):
        raise WorkError(
            f"{short(f'{name}.{packing.main}')} is no packed matrix", where=str(checkpoint.path)
        ) from None


def _long(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _layout(config: Mapping[str, Any], where: str) -> ReadLayout:
    try:
        return layout_of(config)
    except ModelError as error:
        raise WorkError(error.what, where=where, fix=error.fix) from error
