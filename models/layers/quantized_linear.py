"""A linear whose weight stays packed, in any layout, and is unpacked when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tfcli.models.errors import ModelError
from tfcli.models.kernels import dense
from tfcli.models.kernels.library import library
from tfcli.models.kernels.packed_rows import BITS, PackedRows, Piece
from tfcli.models.layers import bnb_kernel, int4_kernel, int8_inputs
from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.layers.linear import Linear, product
from tfcli.models.layers.rounded_linear import RoundedLinear
from tfcli.models.layouts.packing import Packing, buffer_of
from tfcli.models.layouts.values import Affine, AffineFormat, Values
from tfcli.models.sharding import whole


class _UnknownError(Exception):
    """The kernels do not know such a weight."""


class QuantizedLinear(nn.Module):
    """y = x W^T + b with a packed W, and x rounded where the packing says so.

    The buffers always hold what the checkpoint holds. They are not trained; gradients reach x.

    Args:
        in_features: inputs.
        out_features: outputs.
        packing: how the weight is stored; it names the buffers.
        bias: whether there is a bias.
    """

    bias: Tensor | None

    def __init__(
        self, in_features: int, out_features: int, packing: Packing, *, bias: bool
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.packing = in_features, out_features, packing
        self._names = {}
        for name, part in packing.parts(in_features, out_features).items():
            self._names[name] = buffer_of(name)
            self.register_buffer(buffer_of(name), part.empty())
        dtype = torch.float16
        self.register_buffer("bias", torch.zeros(out_features, dtype=dtype) if bias else None)
        self._may_repack = True  # a second form of what others hold a part of would be whole
        self._int4: int4_kernel.Int4Weight | None = None
        self._bnb: bnb_kernel.Weight | None = None

    @property
    def parts(self) -> dict[str, Tensor]:
        """The tensors that the weight is stored in; those that are spread over processes come
        whole, for which all must ask together."""
        return {name: whole(getattr(self, buffer)) for name, buffer in self._names.items()}

    def let_spread(self) -> None:
        """Make frozen parameters of the integer parts, which strategies spread over processes as
        they do weights.

        Scales stay whole: strategies round floats that they gather. So do parts whose sizes only
        the checkpoint says.
        """
        sizes = self.packing.parts(self.in_features, self.out_features)
        for name, part in sizes.items():
            if not part.open and part.shape and not part.dtype.is_floating_point:
                buffer = self._buffers.pop(self._names[name])
                assert buffer is not None, "it has a shape"
                self.register_parameter(
                    self._names[name], nn.Parameter(buffer, requires_grad=False)
                )
        self._may_repack = False

    @property
    def values(self) -> Values:
        """The weight, unpacked but not dequantized."""
        return self.packing.unpack(self.parts)

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [..., in_features] -> [..., out_features], in the dtype of x."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        inputs = self.packing.inputs
        if inputs is not None:
            if int8_inputs.takes(x) and int8_inputs.fits(self.packing):
                out = int8_inputs.product(x, self.parts, self.packing)
                return out if bias is None else out + bias
            own = inputs.product(x, self.parts, bias)
            if own is not None:
                return own
            x = inputs.round(x, self._stored_for_inputs)
        elif int4_kernel.takes(x) and self._int4_fits():
            if self._int4 is None:
                values = self.values
                assert isinstance(values, Affine)
                self._int4 = int4_kernel.Int4Weight.of(values)
            out = self._int4(x)
            return out if bias is None else out + bias
        if bnb_kernel.takes(x) and self._bnb_fits():
            if self._bnb is None:
                self._bnb = bnb_kernel.Weight.of(self.parts, self.in_features, self.out_features)
            out = self._bnb(x)
            return out if bias is None else out + bias
        if torch.is_grad_enabled() and x.requires_grad:
            out = _Unpacked.apply(x, self, bias)
        else:
            out = product(x, self.dequantize(x.dtype), bias)
        return out

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight, [out_features, in_features]: exact in fp32, and rounded once to `dtype`."""
        return self.values.dequantize(dtype)

    def verify(self, name: str = "") -> None:
        """Check what the buffers say against what the config declares; see `Packing.verify`."""
        parts = self.parts
        self.packing.verify(parts, name)
        found = self.packing.sizes(lambda part: tuple(parts[part].shape), parts.__getitem__)
        if found != (self.in_features, self.out_features):
            raise ModelError(
                f"is packed for {found[0]} inputs and {found[1]} outputs, and the model has "
                f"{self.in_features} and {self.out_features}",
                where=name,
            )

    def has_kernel(self, dtype: torch.dtype) -> bool:
        """Whether few rows of this dtype are multiplied with the weight as it is packed."""
        if self.packing.inputs is not None:
            return self.runs_rounded
        on_cpu = next(self.buffers()).device.type == "cpu"
        if dtype != torch.bfloat16 or not on_cpu:
            return False
        return (int4_kernel.is_fast() and self._int4_fits()) or (
            bnb_kernel.is_fast() and self._bnb_fits()
        )

    @property
    def runs_rounded(self) -> bool:
        """Whether inputs are multiplied as they are rounded: few rows and many, in every type.

        As int8 that is also the faster way, see `int8_inputs`, and takes the least memory.
        """
        inputs = self.packing.inputs
        if inputs is None:
            return False
        on_cpu = next(self.buffers()).device.type == "cpu"
        return not inputs.dense or (on_cpu and int8_inputs.fits(self.packing))

    def unpacked(self, dtype: torch.dtype) -> Linear:
        """A dense layer of the same weight, rounded once to `dtype`; it rounds its inputs as this
        one does."""
        sizes, bias = (self.in_features, self.out_features), self.bias is not None
        inputs = self.packing.inputs
        if inputs is None:
            layer = Linear(*sizes, bias, device="meta")
        else:
            layer = RoundedLinear(*sizes, bias, inputs, self._stored_for_inputs)
        layer.weight = nn.Parameter(self.dequantize(dtype), requires_grad=False)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.to(dtype), requires_grad=False)
        return layer.train(self.training)

    def for_kernels(self) -> KernelLinear | None:
        """The same layer for the kernels of this processor; None where they do not have it, or it
        is so small that torch is as fast."""
        form = self.packing.format
        large = self.in_features * self.out_features >= dense.LEAST_WEIGHTS
        if not isinstance(form, AffineFormat) or form.bits not in BITS or not large:
            return None
        if self.packing.inputs is not None:  # they are rounded in another way
            return None
        if library() is None:
            return None
        try:
            weight = PackedRows.of_pieces(
                self._pieces(form.bits),
                self.out_features,
                bits=form.bits,
                group_size=form.width(self.in_features),
            )
        except _UnknownError:
            return None
        return KernelLinear(weight, self.bias).train(self.training)

    def _pieces(self, bits: int) -> Iterator[Piece]:
        """Levels, scales and zeros of some outputs after the others.

        Raises:
            _UnknownError: there are other values, or groups that are no runs of inputs.
        """
        for values in self.packing.unpack_pieces(self.parts):
            if not isinstance(values, Affine) or values.group_index is not None:
                raise _UnknownError
            plain = bool((values.zeros == 1 << (bits - 1)).all())
            yield values.levels, values.scales, None if plain else values.zeros

    @property
    def _stored_for_inputs(self) -> Tensor | None:
        """The number that is stored for rounding the inputs."""
        stored = None if self.packing.inputs is None else self.packing.inputs.stored
        return None if stored is None else self.get_buffer(stored)

    def _int4_fits(self) -> bool:
        if self._int4 is not None:
            return True
        return self._may_repack and int4_kernel.fits(self.out_features, self.packing, self.parts)

    def _bnb_fits(self) -> bool:
        if self._bnb is not None:
            return True
        sizes = self.in_features, self.out_features
        return self._may_repack and bnb_kernel.fits(*sizes, self.packing, self.parts)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # model.to(dtype) changes every float; those of the layout stay as they are stored.
        kept = {name: part for name, part in self.parts.items() if part.is_floating_point()}
        super()._apply(fn, recurse)
        for name, part in kept.items():
            if not part.is_meta:
                buffer = self._names[name]
                setattr(self, buffer, part.to(self.get_buffer(buffer).device))
        self._int4 = self._bnb = None
        return self

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{self.in_features}, {self.out_features}, {self.packing.format}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_int4": None, "_bnb": None}


class _Unpacked(torch.autograd.Function):
    """x W^T + b with a packed W, which is unpacked once more for the gradient of x: kept from the
    forward to the backward pass, the dense weights of all layers would be in memory at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear, bias: Tensor | None) -> Tensor:
        ctx.layer = layer
        return product(x, layer.dequantize(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight = ctx.layer.dequantize(gradient.dtype)
        return product(gradient, weight.t(), None), None, None
