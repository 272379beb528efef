"""The inner loops of rounding weights to levels, and of the search for scales.

Each function gives the same bits for any number of threads. It returns False, or None, and has done
nothing, where there are no kernels or the tensors are not for them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from tfcli.models.kernels.library import library

MOST_COLUMNS = 128
"""Of a block."""

WIDEST = 16384
"""Inputs of a group whose scales can be searched for."""


def round_columns(
    values: Tensor,
    originals: Tensor,
    near: Tensor,
    groups: Tensor,
    scales: Tensor,
    zeros: Tensor,
    inputs: Tensor,
    errors: Tensor,
    levels: Tensor,
    top: int,
) -> bool:
    """Round the columns of a block, the last first, each in view of the errors of those after it.

    Args:
        values (Tensor): fp32 [columns, m], what each weight should be, from errors after the block.
        originals (Tensor): fp32 [columns, m], the weight.
        near (Tensor): fp32 [columns, columns], by what a column answers for another one's error.
        groups (Tensor): int64 [columns], the row of scales and zeros of each column.
        scales (Tensor): fp32 [groups, m].
        zeros (Tensor): fp32 [groups, m].
        inputs (Tensor): int64 [columns], the row of `levels` that a column's go to.
        errors (Tensor): fp32 [columns, m], where the weight less what it was rounded to goes.
        levels (Tensor): fp32 [n, m], where levels go, whole numbers in 0 .. top.
        top: the highest level.
    """
    given = (values, originals, near, scales, zeros, errors, levels)
    kernels = library() if _are_plain(*given) and len(values) <= MOST_COLUMNS else None
    if kernels is None:
        return False
    pointers = [each.data_ptr() for each in (values, originals, near, groups, scales, zeros)]
    pointers += [inputs.data_ptr(), errors.data_ptr(), levels.data_ptr()]
    kernels.round_columns(*pointers, *values.shape, top, torch.get_num_threads())
    return True


def move_columns(
    pulls: Tensor,
    near: Tensor,
    diagonal: Tensor,
    groups: Tensor,
    scales: Tensor,
    errors: Tensor,
    levels: Tensor,
    top: int,
) -> bool:
    """Move the levels of a block's columns, the first first, each to where its pull ends.

    Args:
        pulls (Tensor): fp32 [columns, m], before any of them moves.
        near (Tensor): fp32 [columns, columns], what one that moves pulls at another.
        diagonal (Tensor): fp32 [columns], and at itself.
        groups (Tensor): int64 [columns], the row of scales of each column.
        scales (Tensor): fp32 [groups, m].
        errors (Tensor): fp32 [columns, m], the weight less what it is rounded to; changed in place.
        levels (Tensor): fp32 [columns, m], changed in place.
        top: the highest level.
    """
    given = (pulls, near, diagonal, scales, errors, levels)
    kernels = library() if _are_plain(*given) and len(pulls) <= MOST_COLUMNS else None
    if kernels is None:
        return False
    pointers = [each.data_ptr() for each in (pulls, near, diagonal, groups, scales, errors, levels)]
    kernels.move_columns(*pointers, *pulls.shape, top, torch.get_num_threads())
    return True


def search_scales(
    weight: Tensor,
    width: int,
    importance: Tensor | None,
    factors: Sequence[float],
    *,
    symmetric: bool,
    top: int,
) -> tuple[Tensor, Tensor] | None:
    """The scales and zero points of groups: those that span a group, or a factor of its range.

    Args:
        weight (Tensor): fp32 [m, n] with any strides.
        width: inputs of a group.
        importance (Tensor): fp32 [n], what an error on each input costs; None: all alike.
        factors: of the range, beside 1; taken where the sum of squared errors is less.
        symmetric: whether zero points are in the middle.
        top: the highest level.

    Returns:
        Both fp32 [m, groups].
    """
    plain = weight.device.type == "cpu" and weight.dtype == torch.float32
    kernels = library() if plain and width <= WIDEST else None
    if kernels is None:
        return None
    rows, groups = weight.shape[0], weight.shape[1] // width
    scales, zeros = weight.new_empty(2, rows, groups)
    if importance is not None:
        importance = importance.contiguous()
    failed = kernels.search_scales(
        weight.data_ptr(),
        *weight.stride(),
        rows,
        groups,
        width,
        None if importance is None else importance.data_ptr(),
        symmetric,
        top,
        (ctypes.c_float * len(factors))(*factors),
        len(factors),
        scales.data_ptr(),
        zeros.data_ptr(),
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError
    return scales, zeros


def nearest_levels(weight: Tensor, scales: Tensor, zeros: Tensor, levels: Tensor, top: int) -> bool:
    """Round each weight to the nearest level of its group, in the calling thread alone.

    Args:
        weight (Tensor): fp32 [rows, n].
        scales (Tensor): fp32 [rows, groups].
        zeros (Tensor): fp32 [rows, groups].
        levels (Tensor): uint8 [rows, n], where levels go.
        top: the highest level, up to 255.
    """
    plain = _are_plain(weight, scales, zeros) and levels.is_contiguous()
    kernels = library() if plain and levels.dtype == torch.uint8 else None
    if kernels is None:
        return False
    pointers = [each.data_ptr() for each in (weight, scales, zeros, levels)]
    width = weight.shape[1] // scales.shape[1]
    kernels.nearest_levels(*pointers, *weight.shape, width, top)
    return True


def _are_plain(*tensors: Tensor) -> bool:
    return all(
        each.device.type == "cpu" and each.dtype == torch.float32 and each.is_contiguous()
        for each in tensors
    )
