"""Whole decoder layers for one new position of a few rows, in one call: see layers.cpp.

A token of a small model takes its processor longer in calls from Python than in products. What a
layer is made of is written down once, as addresses, and read by every call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from tfcli.models.caches.paged import Places
from tfcli.models.kernels.dense import KINDS
from tfcli.models.kernels.library import library
from tfcli.models.kernels.packed_rows import PackedRows

HEAD = 16
"""The width of a head is a multiple of it."""


class LinearStruct(ctypes.Structure):
    """`struct Linear`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("dense", "packed", "bias")),
        *((name, ctypes.c_int64) for name in ("stride", "m", "n")),
    )

    @classmethod
    def of(cls, weight: Tensor | PackedRows, bias: Tensor | None) -> LinearStruct:
        """A linear with a dense weight [m, n] for which `dense.is_read` holds, or a packed one; the
        bias [m], contiguous, is of the stream's type."""
        shift = None if bias is None else bias.data_ptr()
        if isinstance(weight, PackedRows):
            return cls(None, weight.address, shift, 0, weight.out_features, weight.in_features)
        return cls(weight.data_ptr(), None, shift, weight.stride(0), *weight.shape)


class NormStruct(ctypes.Structure):
    """`struct Norm`; without arguments, none."""

    _fields_ = (("weight", ctypes.c_void_p), ("eps", ctypes.c_double))


_NORMS = ("before", "of_queries", "of_keys", "after")
_LINEARS = ("query", "key", "value", "out", "gate", "up", "down")


class LayerStruct(ctypes.Structure):
    """`struct Layer`."""

    _fields_ = (
        *((name, NormStruct) for name in _NORMS),
        *((name, LinearStruct) for name in _LINEARS),
        *((name, ctypes.c_int64) for name in ("heads", "shared", "width")),
        ("scale", ctypes.c_double),
    )


class _KeptStruct(ctypes.Structure):
    """`struct Kept`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("keys", "values")),
        *((name, ctypes.c_int64) for name in ("page", "kept")),
    )


def run(
    layers: ctypes.Array[LayerStruct],
    places: Sequence[Places],
    x: Tensor,
    rotation: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """What layers make of one new position of each row.

    Args:
        layers: what they are made of.
        places: of each layer, where keys and values of each row are; the new ones are written
            behind those that are kept.
        x (Tensor): [rows, 1, d], which is not changed.
        rotation: cosines and sines, [rows or 1, 1, 1, turned] each, as `Rotary` gives them.

    Returns:
        [rows, 1, d]
    """
    kernels = library()
    assert kernels is not None, "whoever asks has looked"
    out = x.clone(memory_format=torch.contiguous_format)
    memory = (_KeptStruct * len(places))(
        *(
            _KeptStruct(keys.buffer_info()[0], values.buffer_info()[0], page, kept)
            for keys, values, page, kept in places
        )
    )
    cos, sin, turned, apart = None, None, 0, 0
    if rotation is not None:
        cosines, sines = (each.contiguous() for each in rotation)
        cos, sin, turned = cosines.data_ptr(), sines.data_ptr(), cosines.shape[-1]
        apart = turned if len(cosines) > 1 else 0
    rows, _, size = x.shape
    failed = kernels.run_layers(
        *(layers, len(layers), memory, out.data_ptr(), rows, size, cos, sin, turned, apart),
        *(KINDS[x.dtype], torch.get_num_threads()),
    )
    if failed:
        raise MemoryError
    return out
