"""Quantized checkpoints: packed linears take the places of dense ones, and give them back."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.models.errors import ModelError
from tfcli.models.layers.linear import Linear
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.errors import WHERE
from tfcli.models.layouts.packing import Packing, buffer_of
from tfcli.models.layouts.registry import layout_of
from tfcli.models.matching import current_names
from tfcli.models.model import Model


def swap_quantized(model: Model, quantization_config: Mapping[str, Any]) -> list[str]:
    """Replace the linears that a checkpoint holds packed, before weights are loaded.

    Args:
        model: from `build`, on the meta device.
        quantization_config: of the checkpoint's config.json.

    Returns:
        the full names of the linears that were replaced

    Raises:
        ModelError: what the config declares is not supported, or does not fit the model.
    """
    packings = layout_of(quantization_config).linears(model)
    for name, packing in packings.items():
        _swap(model, name, packing)
    return list(packings)


def give_back_dense(model: Model, source: Iterable[str]) -> None:
    """Put dense linears back where the checkpoint's own tensors are dense, before they are loaded.

    Only of layouts whose configs do not say it; see `Packing.sign`.

    Args:
        model: with quantized linears, on the meta device.
        source: names as in the checkpoint.
    """
    stored = current_names(model, source)
    for name, packed in packed_linears(model).items():
        sign = packed.packing.sign
        if sign is None:
            continue
        place = model.place_of(f"{name}.{buffer_of(sign)}").name
        if {place, place.removeprefix(f"{model.base()}.")}.isdisjoint(stored):
            bias = packed.bias is not None
            dense = Linear(packed.in_features, packed.out_features, bias, device="meta")
            _put(model, name, dense)


def left_out(model: Model, found: Container[str]) -> dict[str, Tensor]:
    """Values of the parts that checkpoints may leave out, and this one does: name -> tensor.

    Args:
        model: with quantized linears.
        found: the model's names that the checkpoint has.

    Raises:
        ModelError: see `Packing.left_out`.
    """
    values = {}
    for name, packed in packed_linears(model).items():
        for part in packed.parts:
            missing = f"{name}.{buffer_of(part)}"
            if missing not in found:
                sizes = (packed.in_features, packed.out_features)
                value = packed.packing.left_out(part, *sizes)
                if value is not None:
                    values[missing] = value
    return values


def verify_quantized(model: nn.Module) -> None:
    """Check every quantized linear's buffers against the config; see `QuantizedLinear.verify`."""
    for name, module in packed_linears(model).items():
        module.verify(name)


def packed_linears(model: nn.Module) -> dict[str, QuantizedLinear]:
    """The linears of a model that are packed, by their full names."""
    found = model.named_modules()
    return {name: module for name, module in found if isinstance(module, QuantizedLinear)}


def repack_linears(model: nn.Module) -> None:
    """Pack packed linears once more, for the kernels of this processor, one after the other.

    Those that no kernel has, or that are too small to gain, stay as they are, and so do all where
    there are no kernels. The others cannot be saved any more.
    """
    for name in list(packed_linears(model)):  # names alone, so that what is replaced is let go
        packed = model.get_submodule(name)
        assert isinstance(packed, QuantizedLinear)
        made = packed.for_kernels()
        if made is not None:
            _put(model, name, made)


def unpack_linears(model: nn.Module, names: Iterable[str], dtype: torch.dtype) -> None:
    """Put dense layers of the same weights in the place of packed ones, one after the other.

    The model then computes faster and takes the memory of a dense one; it can no longer be saved
    in the layout that it was loaded from.
    """
    for name in list(names):
        packed = model.get_submodule(name)
        assert isinstance(packed, QuantizedLinear)
        _put(model, name, packed.unpacked(dtype))


def _swap(model: Model, name: str, packing: Packing) -> None:
    dense = model.get_submodule(name)
    assert isinstance(dense, nn.Linear), "a layout names linears"
    problem = packing.misfit(dense.in_features, dense.out_features)
    if problem:
        raise ModelError(f"{name} {problem}", where=WHERE)
    with dense.weight.device:
        packed = QuantizedLinear(
            dense.in_features, dense.out_features, packing, bias=dense.bias is not None
        )
    _put(model, name, packed)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, module)
