"""The packed linears of a checkpoint in the GPTQ layout, and the dense tensors that they become."""

from __future__ import annotations

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
from tfcli.checkpoints.packed.unpack import Unpacked, dense_code, sources
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, WorkError
from tfcli.models.layers.gptq_layout import PACK, group_index
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.quantized import GPTQLayout
from tfcli.models.rules import Place, place_of

PARTS = ("qweight", "qzeros", "scales", "g_idx")


@dataclass(frozen=True)
class PackedLinear:
    """A linear whose weight is packed.

    Args:
        name: full name of the module.
        layout: its bits, group size and conventions.
        place: where a dense checkpoint keeps its weight.
    """

    name: str
    layout: GPTQLayout
    place: Place

    @property
    def parts(self) -> list[str]:
        """Names of the tensors that it may be packed in."""
        return [f"{self.name}.{part}" for part in PARTS]

    def shape(self, checkpoint: Checkpoint) -> tuple[int, int]:
        """Of the dense weight as it is stored."""
        rows, out_features = checkpoint.tensors[f"{self.name}.qweight"].shape
        in_features = rows * PACK // self.layout.bits
        shape = (in_features, out_features)
        return shape if self.place.transposed else shape[::-1]

    def open(self, checkpoint: Checkpoint) -> QuantizedLinear:
        """The module with its tensors; checked against the config.

        Raises:
            WorkError: a part is missing, or has another type or shape.
            ModelError: values that the config does not allow.
        """
        shape = self.shape(checkpoint)
        in_features, out_features = shape if self.place.transposed else shape[::-1]
        with torch.device("meta"):
            module = QuantizedLinear(
                in_features,
                out_features,
                bits=self.layout.bits,
                group_size=self.layout.group_size,
                bias=False,
                symmetric=self.layout.symmetric,
                checkpoint_format=self.layout.checkpoint_format,
            )
        for part, name in zip(PARTS, self.parts, strict=True):
            if part == "g_idx" and name not in checkpoint.tensors:
                found = group_index(in_features, self.layout.group_size)
            else:
                found = _part(checkpoint, name, getattr(module, part))
            setattr(module, part, found)
        module.verify(self.name)
        return module

    def unpack(self, checkpoint: Checkpoint, dtype: torch.dtype) -> Tensor:
        """The dense weight as it is stored, rounded once to `dtype`.

        Raises:
            WorkError: as `open`.
        """
        weight = self.open(checkpoint).dequantize(dtype)
        return weight if self.place.transposed else weight.t().contiguous()


def find_packed(checkpoint: Checkpoint) -> list[PackedLinear]:
    """The packed linears, in the checkpoint's order.

    Raises:
        ModelError: a method or a setting that is not unpacked; names the key.
        WorkError: the config and the tensors do not agree on what is packed.
    """
    where = str(checkpoint.path / CONFIG)
    settings = checkpoint.config["quantization_config"]
    layout = _layout(settings, where)
    ordered = bool(settings.get("desc_act")) and layout.group_size != -1
    rules = family_rules(checkpoint.config)
    found = []
    for stored in checkpoint.tensors:
        name, _, part = stored.rpartition(".")
        if part != "qweight":
            continue
        own = layout.of(name)
        if own is None:
            raise WorkError(
                f"{short(name)} is packed, and the config says that it is not",
                where=f"{where}, quantization_config.dynamic",
            )
        weight = f"{name}.weight"
        place = place_of(rules[0], weight) if rules else Place(weight)
        linear = PackedLinear(name, own, place)
        if len(checkpoint.tensors[stored].shape) != 2:
            raise WorkError(f"{short(stored)} is no matrix", where=str(checkpoint.path))
        if ordered and f"{name}.g_idx" not in checkpoint.tensors:
            raise WorkError(
                f"{short(name)} has no g_idx, and its groups are no runs of inputs: desc_act is "
                "true",
                where=str(checkpoint.path),
                fix="take the checkpoint with its g_idx, or set desc_act to false if it was "
                "quantized so",
            )
        linear.open(checkpoint)  # every linear is checked before anything is written
        found.append(linear)
    if not found:
        raise WorkError(
            "the config says that weights are packed, and none is",
            where=f"{where}, quantization_config",
            fix="remove quantization_config from config.json",
        )
    return found


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
    shape = (len(linears), *linears[0].shape(checkpoint))
    stack = torch.empty(shape, dtype=dtype)
    for target, linear in zip(stack, linears, strict=True):
        target.copy_(linear.unpack(checkpoint, dtype))
    return stack


def _part(checkpoint: Checkpoint, name: str, like: Tensor) -> Tensor:
    if name not in checkpoint.tensors:
        raise WorkError(f"{short(name)} is missing", where=str(checkpoint.path))
    found = checkpoint.weights[name]
    wanted = torch.float16 if name.endswith(".scales") else like.dtype
    floats = name.endswith(".scales") and found.is_floating_point()
    if (found.dtype != wanted and not floats) or found.shape != like.shape:
        raise WorkError(
            f"{short(name)} is {found.dtype} {list(found.shape)}, "
            f"by the config it is {like.dtype} {list(like.shape)}",
            where=str(checkpoint.path),
        )
    return found


def _layout(config: Mapping[str, Any], where: str) -> GPTQLayout:
    try:
        return GPTQLayout.from_config(config)
    except ModelError as error:
        raise WorkError(error.what, where=where, fix=error.fix) from error


def unpacked(checkpoint: Checkpoint, exact: Callable[[str], bool]) -> Unpacked:
    """The dense weights of a checkpoint with quant_method gptq.

    Raises:
        WorkError: as `find_packed` and `by_tensor`.
    """
    linears = find_packed(checkpoint)
    parts = {part for linear in linears for part in linear.parts}
    dense, bits = {}, {}
    for name, stack in by_tensor(linears).items():
        shape: tuple[int, ...] = stack[0].shape(checkpoint)
        if stack[0].place.index is not None:
            shape = (len(stack), *shape)
        code = dense_code(name, exact)
        read = partial(unpack_tensor, stack, checkpoint, torch_dtype(code))
        held = [part for linear in stack for part in linear.parts if part in checkpoint.tensors]
        bits[name] = sorted({linear.layout.bits for linear in stack})
        how = f"{' and '.join(map(str, bits[name]))} bits dequantized"
        dense[name] = TensorEntry(name, code, shape, sources(held, checkpoint), how, read)
    return Unpacked(dense, frozenset(parts), bits)
