"""Quantized checkpoints: packed linears take the places of dense ones, and give them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
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


class PackedFilled:
    """Sees when a packed linear has all its tensors, and checks them against the config.

    Args:
        model: with quantized linears, on the meta device.
        names: the tensors that are read, as the model calls them.
        then: called with the linear's name when they are there and right; it may replace it.
    """

    def __init__(
        self, model: Model, names: Iterable[str], then: Callable[[str], None] | None
    ) -> None:
        packed = packed_linears(model)
        self._model, self._then = model, then
        self._left = Counter(
            path for path in (name.rpartition(".")[0] for name in names) if path in packed
        )

    def has(self, name: str) -> None:
        """One more tensor is in its place.

        Raises:
            ModelError: see `QuantizedLinear.verify`.
        """
        path = name.rpartition(".")[0]
        self._left[path] -= 1
        if self._left[path]:
            return
        packed = self._model.get_submodule(path)
        assert isinstance(packed, QuantizedLinear)
        packed.verify(path)
        del packed
        if self._then is not None:
            self._then(path)


def packed_linears(model: nn.Module) -> dict[str, QuantizedLinear]:
    """The linears of a model that are packed, by their full names."""
    found = model.named_modules()
    return {name: module for name, module in found if isinstance(module, QuantizedLinear)}


def repack_linear(model: nn.Module, name: str) -> None:
    """Pack a packed linear once more, for the kernels of this processor.

    One that no kernel has, or that is too small to gain, stays as it is, and so does any where
    there are no kernels. Another cannot be saved any more.
    """
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
