"""A weight of 2, 3, 4 or 8 bits, packed for products of few rows straight from its levels.

Inputs are rounded to 8 bits in blocks of up to 32 that share a scale, as llama.cpp's Q8_0 does, so
that products are sums of integers (packed.cpp says in which order). For normally distributed inputs
the result is off by 0.6% of its norm; no input by more than 1/254 of its block's largest. Inputs as
they are, in float32, take `exact=True`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.kernels.dense import KINDS
from tfcli.models.kernels.library import library, status

BITS = (2, 3, 4, 8)
LANES = 16  # outputs of a block
_KINDS = {**KINDS, torch.uint8: 3}

Piece = tuple[Tensor, Tensor, Tensor | None]
"""Levels, scales and zeros of some outputs."""


class _Packed(ctypes.Structure):
    """`struct Packed` of packed.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("levels", "scales", "zeros")),
        *((name, ctypes.c_int64) for name in ("m", "n", "group", "padded", "groups", "container")),
        *((name, ctypes.c_int64) for name in ("scale_kind", "zero_kind")),
        ("middle", ctypes.c_double),
    )


@dataclass(frozen=True, eq=False)
class PackedRows:
    """W[o, i] = (level[o, i] - zero[o, i // g]) * scale[o, i // g], held in this form alone.

    Args:
        levels (Tensor): uint8, one dimension: [m / 16][16 n container / 8].
        scales (Tensor): fp16 where that holds every scale exactly, else fp32, [m / 16, groups, 16].
        zeros (Tensor): uint8, fp16 or fp32, whichever holds them exactly, of the same shape; None
            where all are `middle`.
        out_features: m, which the blocks of 16 fill up.
        in_features: n.
        group_size: inputs that share a scale. The last group may be shorter.
        container: bits that a level takes: `bits`, unless a group does not fill whole units of
            these and a wider one takes fewer bytes.
        padded: inputs of a group with what fills up its last unit.
        middle: the zero point where `zeros` is None.
    """

    levels: Tensor
    scales: Tensor
    zeros: Tensor | None
    out_features: int
    in_features: int
    group_size: int
    container: int
    padded: int
    middle: float

    @classmethod
    def of(
        cls, levels: Tensor, scales: Tensor, zeros: Tensor | None, *, bits: int, group_size: int
    ) -> PackedRows:
        """Repack a weight.

        Args:
            levels (Tensor): uint8 [m, n], values in 0 .. 2**bits - 1.
            scales (Tensor): float [m, groups].
            zeros (Tensor): float or integer [m, groups]; None is 2**(bits - 1) for all.
            bits: 2, 3, 4 or 8.
            group_size: inputs that share a scale.

        Raises:
            ModelError: there are no kernels here, or the shapes do not belong together.
        """
        piece = levels, scales, zeros
        return cls.of_pieces([piece], len(levels), bits=bits, group_size=group_size)

    @classmethod
    def of_pieces(
        cls, pieces: Iterable[Piece], out_features: int, *, bits: int, group_size: int
    ) -> PackedRows:
        """The same of a weight that comes in pieces, of which each is let go before the next.

        Args:
            pieces: levels, scales and zeros as in `of`, of 16 outputs or a multiple of that; the
                last one may have others.
            out_features: of all pieces.
            bits: as in `of`.
            group_size: as in `of`.

        Raises:
            ModelError: as `of`.
        """
        all_levels, made, start = torch.empty(0, dtype=torch.uint8), [], 0
        for levels, scales, zeros in pieces:
            _require_fit(levels, scales, zeros, bits, group_size)
            (m, n), groups = levels.shape, scales.shape[1]
            container, padded = _container(bits, group_size)
            row = groups * padded * container // 8  # bytes
            if not start:
                all_levels = torch.zeros(_filled(out_features) * row, dtype=torch.uint8)
            packed = cls(
                all_levels[start * row : (start + _filled(m)) * row],
                _interleaved(_smallest(scales, torch.float16)),
                None
                if zeros is None
                else _interleaved(_smallest(zeros, torch.uint8, torch.float16)),
                m,
                n,
                group_size,
                container,
                padded,
                float(1 << (bits - 1)),
            )
            rows = levels.contiguous()
            _kernels().pack_levels(packed.address, rows.data_ptr(), torch.get_num_threads())
            made.append(packed)
            start += m
            assert start == out_features or start % LANES == 0, "pieces are whole blocks"
        assert start == out_features, "pieces are the whole weight"
        scales, zeros = _joined(made)
        return replace(
            made[0], levels=all_levels, scales=scales, zeros=zeros, out_features=out_features
        )

    def __call__(self, x: Tensor, bias: Tensor | None = None, *, exact: bool = False) -> Tensor:
        """x W^T + b, rounded once to the type of x.

        The bits of a row are the same alone and among others, and for any number of threads.

        Args:
            x (Tensor): [..., n], fp32, bf16 or fp16. No gradient reaches it.
            bias (Tensor): [m], in the type of x.
            exact: multiply x as it is, in float32, in place of rounding it to 8 bits.

        Returns:
            Tensor: [..., m]
        """
        if torch.compiler.is_compiling():
            return _compiled(self, x, bias, exact)
        return self._product(x, bias, exact)

    def dequantize(self, dtype: torch.dtype = torch.float32, rows: slice | None = None) -> Tensor:
        """The weight, or some of its rows: computed in fp32 and rounded once, [rows, n]."""
        begin, end, step = (rows or slice(None)).indices(self.out_features)
        if step != 1:
            raise ValueError("rows are neighbours")
        end = max(begin, end)
        out = torch.empty(end - begin, self.in_features, dtype=dtype)
        _kernels().unpack_values(
            self.address, out.data_ptr(), KINDS[dtype], begin, end, torch.get_num_threads()
        )
        return out

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is held."""
        held = [self.levels, self.scales, *([] if self.zeros is None else [self.zeros])]
        return sum(each.nbytes for each in held)

    def _product(self, x: Tensor, bias: Tensor | None, exact: bool) -> Tensor:
        wrong = self._refuses(x, bias)
        if wrong:
            raise ModelError(wrong)
        x = x.contiguous()
        out = x.new_empty((*x.shape[:-1], self.out_features))
        if not out.numel():
            return out
        if bias is not None:
            bias = bias.contiguous()
        failed = _kernels().packed_product(
            self.address,
            x.data_ptr(),
            None if bias is None else bias.data_ptr(),
            out.data_ptr(),
            x.numel() // self.in_features,
            KINDS[x.dtype],
            exact,
            torch.get_num_threads(),
        )
        if failed:
            raise MemoryError
        return out

    def _refuses(self, x: Tensor, bias: Tensor | None) -> str:
        """What is wrong with an input: the kernel reads memory as it is told to."""
        if x.shape[-1] != self.in_features:
            return f"the weight has {self.in_features} inputs, not {x.shape[-1]}"
        if x.dtype not in KINDS or x.device.type != "cpu":
            return f"there is no kernel for {x.dtype} on {x.device.type}"
        if bias is not None and (bias.dtype != x.dtype or bias.shape != (self.out_features,)):
            return f"a bias is {x.dtype} [{self.out_features}] here, not {bias.dtype} {bias.shape}"
        if x.requires_grad and torch.is_grad_enabled():
            return "no gradient reaches the input of a packed weight"
        return ""

    @property
    def address(self) -> int:
        """Where what the kernel is told of it lies; as long as this lives."""
        return ctypes.addressof(self._struct)

    @cached_property
    def _struct(self) -> _Packed:
        zeros = self.zeros
        return _Packed(
            self.levels.data_ptr(),
            self.scales.data_ptr(),
            None if zeros is None else zeros.data_ptr(),
            self.out_features,
            self.in_features,
            self.group_size,
            self.padded,
            self.scales.shape[1],
            self.container,
            _KINDS[self.scales.dtype],
            4 if zeros is None else _KINDS[zeros.dtype],
            self.middle,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_struct"}


def _kernels() -> ctypes.CDLL:
    kernels = library()
    if kernels is None:
        raise ModelError(f"there are no kernels for packed weights: {status().reason}")
    return kernels


def _container(bits: int, group: int) -> tuple[int, int]:
    """The width that takes the fewest bytes for a group, and the inputs that it then holds."""
    units = {2: 16, 3: 32, 4: 8, 8: 4}
    fitting = [(each, -(-group // units[each]) * units[each]) for each in BITS if each >= bits]
    return min(fitting, key=lambda found: found[0] * found[1])


def _require_fit(
    levels: Tensor, scales: Tensor, zeros: Tensor | None, bits: int, group_size: int
) -> None:
    """Refuse what the kernel would read or write beside its memory."""
    shape = (len(levels), -(-levels.shape[1] // group_size))
    wrong = [
        name
        for name, each in (("scales", scales), ("zeros", zeros))
        if each is not None and each.shape != shape
    ]
    if bits not in BITS or levels.dtype != torch.uint8 or wrong or not levels.numel():
        raise ModelError(
            f"levels of {bits} bits, {levels.dtype} {list(levels.shape)}, in groups of "
            f"{group_size} do not go with {' and '.join(wrong) or 'a kernel'}"
        )
    if int(levels.max()) >> bits:
        raise ModelError(f"a level does not fit in {bits} bits")


def _filled(outputs: int) -> int:
    """Outputs with those that fill up the last block."""
    return -(-outputs // LANES) * LANES


def _joined(pieces: Sequence[PackedRows]) -> tuple[Tensor, Tensor | None]:
    """Scales and zeros of all pieces, in the smallest types that hold those of each."""
    scales, zeros = [each.scales for each in pieces], [each.zeros for each in pieces]
    if len(pieces) == 1:
        return scales[0], zeros[0]
    filled = [
        torch.full_like(each.scales, each.middle, dtype=torch.uint8)
        if each.zeros is None
        else each.zeros
        for each in pieces
    ]
    some = any(each is not None for each in zeros)
    return torch.cat(scales), torch.cat(filled) if some else None


def _smallest(values: Tensor, *dtypes: torch.dtype) -> Tensor:
    """The values in the first type that holds them all exactly, else in fp32."""
    for dtype in dtypes:
        cast = values.to(dtype)
        if torch.equal(cast.to(torch.float64), values.to(torch.float64)):
            return cast
    return values.to(torch.float32)


def _interleaved(values: Tensor) -> Tensor:
    """[m, groups] -> [m / 16, groups, 16], filled up with zeros."""
    m, groups = values.shape
    filled = values.new_zeros(_filled(m), groups)
    filled[:m] = values
    return filled.view(-1, LANES, groups).transpose(1, 2).contiguous()


@torch.library.custom_op("tfcli::packed_rows", mutates_args=())
def _operator(
    levels: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    x: Tensor,
    bias: Tensor | None,
    sizes: list[int],
    middle: float,
    exact: bool,
) -> Tensor:
    """The call as a compiler sees it: one operator of tensors."""
    m, n, group, container, padded = sizes
    weight = PackedRows(levels, scales, zeros, m, n, group, container, padded, middle)
    return weight._product(x, bias, exact)


@_operator.register_fake
def _(
    levels: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    x: Tensor,
    bias: Tensor | None,
    sizes: list[int],
    middle: float,
    exact: bool,
) -> Tensor:
    return x.new_empty((*x.shape[:-1], sizes[0]))


def _compiled(weight: PackedRows, x: Tensor, bias: Tensor | None, exact: bool) -> Tensor:
    sizes = [weight.out_features, weight.in_features, weight.group_size]
    sizes += [weight.container, weight.padded]
    held = weight.levels, weight.scales, weight.zeros
    out: Tensor = torch.ops.tfcli.packed_rows(*held, x, bias, sizes, weight.middle, exact)
    return out
