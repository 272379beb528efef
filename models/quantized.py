"""Quantized checkpoints: which linears a quantization_config covers, and how they are packed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from tfcli.models.errors import ModelError, hint
from tfcli.models.layers.gptq_layout import BITS, PACK, ZERO_OFFSETS
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.model import Model

WHERE = "config.json, quantization_config"

_FIXED: dict[str, tuple[Any, ...]] = {
    "lm_head": (False,),
    "pack_dtype": ("int32",),
    "is_marlin_format": (False,),
}
"""Keys that change the layout, with the values under which they do not."""


@dataclass(frozen=True)
class GPTQLayout:
    """What a quantization_config with quant_method "gptq" says.

    Args:
        bits: 2, 3, 4 or 8.
        group_size: inputs that share a scale, -1 for all.
        symmetric: every zero point is the middle level (`sym`).
        checkpoint_format: "gptq" or "gptq_v2".
        modules: names within a block, or None for all of the family's calibration walk
            (`modules_in_block_to_quantize`).
        dynamic: regular expression on a full name -> changes; one that begins with "-:" leaves
            the linears that match as they are.
    """

    bits: int
    group_size: int
    symmetric: bool
    checkpoint_format: str
    modules: tuple[str, ...] | None = None
    dynamic: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> GPTQLayout:
        """Read a quantization_config.

        Raises:
            ModelError: a method, a format or a value that is not supported, by name.
        """
        method = config.get("quant_method")
        if method != "gptq":
            raise _refused("quant_method", method, ["gptq"])
        for key, values in _FIXED.items():
            if config.get(key) not in (None, *values):
                raise _refused(key, config[key], list(values))
        version = config.get("checkpoint_format") or config.get("format") or "gptq"
        if version not in ZERO_OFFSETS:
            raise _refused("checkpoint_format", version, list(ZERO_OFFSETS))
        layout = cls(
            bits=config.get("bits", 0),
            group_size=config.get("group_size", -1),
            symmetric=bool(config.get("sym", False)),
            checkpoint_format=version,
            modules=_flat(config.get("modules_in_block_to_quantize")),
            dynamic=_dynamic(config.get("dynamic")),
        )
        layout.check()
        return layout

    def check(self) -> None:
        """Refuse bits and group sizes that the layout does not have."""
        if self.bits not in BITS or isinstance(self.bits, bool):
            raise _refused("bits", self.bits, list(BITS))
        size = self.group_size
        if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
            raise ModelError(f"group_size: {size!r} is neither -1 nor 1 or more", where=WHERE)

    def of(self, name: str) -> GPTQLayout | None:
        """The layout of the linear with this full name; None when it is not quantized.

        The first pattern that matches decides, as in GPTQModel.
        """
        for pattern, changes in self.dynamic.items():
            excluded = pattern.startswith("-:")
            if re.match(pattern.removeprefix("-:").removeprefix("+:"), name):
                return None if excluded else self._changed(changes)
        return self

    def _changed(self, changes: dict[str, Any]) -> GPTQLayout:
        changed = replace(
            self,
            bits=changes.get("bits", self.bits),
            group_size=changes.get("group_size", self.group_size),
            symmetric=bool(changes.get("sym", self.symmetric)),
        )
        changed.check()
        return changed


def swap_quantized(model: Model, quantization_config: Mapping[str, Any]) -> list[str]:
    """Replace the linears that a checkpoint holds in the GPTQ layout, before weights are loaded.

    Args:
        model: from `build`, on the meta device.
        quantization_config: of the checkpoint's config.json.

    Returns:
        the full names of the linears that were replaced

    Raises:
        ModelError: what the config declares is not supported, or does not fit the model.
    """
    layout = GPTQLayout.from_config(quantization_config)
    walk = getattr(model, "calibration", None)
    if walk is None:
        raise ModelError(f"{type(model).__name__} has no quantized form", where=WHERE)
    swapped = []
    for position, block in enumerate(model.blocks):
        known = walk.linears(block)
        for inner_name in known if layout.modules is None else layout.modules:
            if inner_name not in known and walk.varies and walk.names(inner_name):
                continue  # a linear of other blocks
            name = f"{walk.blocks}.{position}.{inner_name}"
            own = layout.of(name)
            if own is not None:
                _swap(block, inner_name, name, own, known)
                swapped.append(name)
    return swapped


def verify_quantized(model: nn.Module) -> None:
    """Check every quantized linear's buffers against the config; see `QuantizedLinear.verify`."""
    for name, module in packed_linears(model).items():
        module.verify(name)


def packed_linears(model: nn.Module) -> dict[str, QuantizedLinear]:
    """The linears of a model that are packed, by their full names."""
    found = model.named_modules()
    return {name: module for name, module in found if isinstance(module, QuantizedLinear)}


def unpack_linears(model: nn.Module, names: Iterable[str], dtype: torch.dtype) -> None:
    """Put dense layers of the same weights in the place of packed ones, one after the other.

    The model then computes faster and takes the memory of a dense one; it can no longer be saved
    in the layout that it was loaded from.
    """
    for name in list(names):
        path, _, leaf = name.rpartition(".")
        parent = model.get_submodule(path)
        setattr(parent, leaf, getattr(parent, leaf).unpacked(dtype))


def _swap(
    block: nn.Module, inner_name: str, name: str, layout: GPTQLayout, known: tuple[str, ...]
) -> None:
    path, _, leaf = inner_name.rpartition(".")
    try:
        parent = block.get_submodule(path)
        dense = parent.get_submodule(leaf)
    except AttributeError:
        dense = None
    if not isinstance(dense, nn.Linear):
        raise ModelError(
            f"modules_in_block_to_quantize: {inner_name!r} is no linear of a block",
            where=WHERE,
            fix=hint(inner_name, known),
        )
    for features in (dense.in_features, dense.out_features):
        if features % PACK:
            raise ModelError(
                f"{name} has {features} inputs or outputs, which the layout cannot pack: "
                f"not a multiple of {PACK}",
                where=WHERE,
            )
    with dense.weight.device:
        packed = QuantizedLinear(
            dense.in_features,
            dense.out_features,
            bits=layout.bits,
            group_size=layout.group_size,
            bias=dense.bias is not None,
            symmetric=layout.symmetric,
            checkpoint_format=layout.checkpoint_format,
        )
    setattr(parent, leaf, packed)


def _flat(modules: Any) -> tuple[str, ...] | None:
    """`[["a", "b"], ["c"]]` or `["a", "b"]` as a tuple of names."""
    if modules is None:
        return None
    names: list[str] = []
    for item in modules if isinstance(modules, list) else [modules]:
        names += item if isinstance(item, list) else [item]
    if not all(isinstance(name, str) for name in names):
        raise ModelError("modules_in_block_to_quantize: not a list of names", where=WHERE)
    return tuple(names)


def _dynamic(dynamic: Any) -> dict[str, dict[str, Any]]:
    if dynamic is None:
        return {}
    if not isinstance(dynamic, dict):
        raise ModelError("dynamic: not a mapping of patterns to changes", where=WHERE)
    for pattern, changes in dynamic.items():
        try:
            re.compile(pattern.removeprefix("-:").removeprefix("+:"))
        except re.error as error:
            raise ModelError(f"dynamic: bad pattern {pattern!r}: {error}", where=WHERE) from None
        if not isinstance(changes, dict):
            raise ModelError(f"dynamic: {pattern!r} maps to no changes", where=WHERE)
    return dynamic


def _refused(key: str, value: Any, supported: list[Any]) -> ModelError:
    return ModelError(
        f"{key}: {value!r} is not supported",
        where=WHERE,
        fix=f"supported: {', '.join(str(item) for item in supported)}",
    )
