"""The grid of levels that a group of weights is rounded to: its scale, its zero point, rounding.

A scale is rounded to fp16 before it is used, because fp16 is what the checkpoint stores: the error
that is measured is then the error that a reader of the checkpoint sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.kernels.rounding import search_scales
from tfcli.models.layouts.values import AffineFormat
from tfcli.several_cores import ahead

T = TypeVar("T")

SMALLEST_SCALE = 2.0**-24
"""The smallest positive fp16 number: a scale never rounds to zero."""

SMALLEST_NORMAL = 2.0**-14
"""Below it fp16's numbers are multiples of the smallest one."""

LARGEST_SCALE = 65504.0

FACTORS = tuple(1.15 - step / 60 for step in range(49))
"""The shares of the full range that a search tries: 1.15 to 0.35."""

AT_ONCE = 1 << 25
"""Weights that a solver with several copies of them works on at a time, 128 MiB in fp32: outputs do
not depend on one another, and a head has many."""

_PIECE = 1 << 17
"""Weights that a search takes at a time, so that its temporaries stay in the processor's cache."""

_ROWS = (1 << 18) - 1
"""Weights of rows that are worked on at a time: in fp32 they stay below the megabyte from which on
memory that is freed goes back to the system (`freed_at_once`)."""


@dataclass(frozen=True)
class GridOptions(AffineFormat):
    """How weights become levels: a format, and how its scales are found.

    Args:
        scale_search: `max` spans the whole range of a group; `mse` tries other ranges and keeps the
            one with the least squared error; `hessian` weighs the errors by what each costs.
    """

    scale_search: Literal["max", "mse", "hessian"] = "max"

    @property
    def format(self) -> AffineFormat:
        """What is made of a weight."""
        return AffineFormat(self.bits, self.group_size, self.symmetric)


@dataclass(frozen=True)
class Grid:
    """One grid a row: `weight = (level - zero) * scale`.

    Args:
        scale (Tensor): fp32 [rows, 1], values that fp16 holds exactly.
        zero (Tensor): fp32 [rows, 1], whole numbers in 1 .. top.
        top: the highest level.
    """

    scale: Tensor
    zero: Tensor
    top: int

    def levels(self, weight: Tensor) -> Tensor:
        """The nearest level of each weight: fp32 [rows, n], whole numbers in 0 .. top."""
        return (weight / self.scale + self.zero).round_().clamp_(0, self.top)

    def values(self, levels: Tensor) -> Tensor:
        """The weights that levels stand for: fp32 [rows, n]."""
        return (levels - self.zero) * self.scale


def find_grid(weight: Tensor, options: GridOptions, importance: Tensor | None = None) -> Grid:
    """The grid of one group of weights.

    Args:
        weight (Tensor): fp32 [rows, n].
        options: the grid's options.
        importance (Tensor): fp32 [n], what an error on each input costs; all alike when None. Only
            a search by `hessian` looks at it.
    """
    low, high = _range(weight)
    grid = _grid(low, high, options)
    if options.scale_search == "max":
        return grid
    if importance is None or options.scale_search == "mse":
        importance = torch.ones_like(weight[0])
    room = torch.empty_like(weight), torch.empty_like(weight)
    best = _cost(weight, grid, importance, room)
    for factor in FACTORS:
        candidate = _grid(low * factor, high * factor, options)
        cost = _cost(weight, candidate, importance, room)
        better = cost < best
        best = torch.where(better, cost, best)
        grid = Grid(
            torch.where(better, candidate.scale, grid.scale),
            torch.where(better, candidate.zero, grid.zero),
            grid.top,
        )
    return grid


def find_grids(
    weight: Tensor, options: GridOptions, importance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The grids of all groups of a weight.

    Args:
        weight (Tensor): fp32 [m, n], n a multiple of the group size.
        options: the grid's options.
        importance (Tensor): fp32 [n], see `find_grid`.

    Returns:
        Scales and zero points, both fp32 [m, groups].
    """
    rows, columns = weight.shape
    width = options.width(columns)
    found = search_scales(
        weight,
        width,
        importance if options.scale_search == "hessian" else None,
        () if options.scale_search == "max" else FACTORS,
        symmetric=options.symmetric,
        top=options.top,
    )
    if found is not None:
        return found
    shape = (rows, columns // width)
    if options.scale_search != "hessian" or importance is None:
        # Groups are all alike: each is a row.
        found = _in_pieces(weight.reshape(-1, width), options, None)
        return found[0].view(shape), found[1].view(shape)
    each = [
        _in_pieces(weight[:, start : start + width], options, importance[start : start + width])
        for start in range(0, columns, width)
    ]
    return torch.cat([scale for scale, _ in each], 1), torch.cat([zero for _, zero in each], 1)


def _in_pieces(
    weight: Tensor, options: GridOptions, importance: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The grids of many rows, which are groups: scales and zero points, fp32 [rows, 1]."""
    pieces = weight.split(max(1, _PIECE // weight.shape[1]))
    grids = [find_grid(piece.contiguous(), options, importance) for piece in pieces]
    return torch.cat([grid.scale for grid in grids]), torch.cat([grid.zero for grid in grids])


def _grid(low: Tensor, high: Tensor, options: GridOptions) -> Grid:
    """The grid that spans low .. high, both fp32 [rows, 1], low <= 0 <= high."""
    top, scale = options.top, storable(_exact_scale(low, high, options))
    if options.symmetric:
        return Grid(scale, torch.full_like(scale, (top + 1) // 2), top)
    # Zero points start at 1: the first version of the layout, in which the weights must fit too,
    # stores zero - 1, and its readers disagree about -1. A group that would have 0, as nothing in
    # it is below 0, loses the lowest level by that. So its scale is made for the others, or its
    # largest weights would be cut off.
    zero = (-low / scale).round_().clamp_(0, top)
    scale = torch.where(zero < 1, storable(high / (top - 1)), scale)
    return Grid(scale, zero.clamp_(min=1), top)


def _range(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest of each row and of 0, both [rows, 1]."""
    low = weight.amin(dim=1, keepdim=True).clamp_(max=0)
    return low, weight.amax(dim=1, keepdim=True).clamp_(min=0)


def _exact_scale(low: Tensor, high: Tensor, options: GridOptions) -> Tensor:
    """The scale that spans low .. high, before fp16 rounds it."""
    if options.symmetric:
        return torch.maximum(-low, high) * (2 / options.top)
    return (high - low) / options.top


def count_coarse_scales(weight: Tensor, options: GridOptions, *, name: str) -> int:
    """How many groups of a weight have a scale that fp16 holds too coarsely.

    Near its smallest number fp16 has few others: counted are steps that become more than a quarter
    larger than they need be. A group of still smaller weights becomes zeros.

    Args:
        weight (Tensor): [m, n] in any float dtype, n a multiple of the group size.
        options: the grid's options.
        name: the weight's name, for errors.

    Raises:
        WorkError: a scale is larger than every number of fp16.
    """

    def work(start: int, stop: int) -> Tensor:
        groups = weight[start:stop].float().reshape(-1, options.width(weight.shape[1]))
        return _exact_scale(*_range(groups), options)

    exact = torch.cat(list(by_rows(work, weight)))
    if (exact > LARGEST_SCALE).any():
        raise WorkError(
            f"holds weights up to {weight.abs().max().item():.3g}: a scale of "
            f"{exact.max().item():.3g} is needed, and fp16, which stores scales, ends at "
            f"{LARGEST_SCALE:,.0f}",
            where=name,
            fix="check the checkpoint: it may come from a run that diverged; or name it in skip",
        )
    return int(((exact > 0) & (storable(exact) > 1.25 * exact)).sum())


def are_normal(scales: Tensor) -> bool:
    """Whether fp16 holds all scales with all of its digits, so that none is coarse or too large."""
    low, high = scales.aminmax()
    return bool(low > 2 * SMALLEST_NORMAL and high < LARGEST_SCALE)


def by_rows(work: Callable[[int, int], T], weight: Tensor) -> Iterator[T]:
    """The results of `work` on ranges of a weight's rows, in order; on the CPU by several threads,
    a range small enough for what is made of it to stay in the cache."""
    on_cpu = weight.device.type == "cpu"
    step = max(1, (_ROWS if on_cpu else AT_ONCE) // weight.shape[1])
    return ahead(work, len(weight), step)


def storable(scale: Tensor) -> Tensor:
    """The nearest scale that fp16 holds; where its numbers are far apart, the one above, so that
    no weight is cut off."""
    sparse = torch.ceil(scale / SMALLEST_SCALE) * SMALLEST_SCALE
    stored = torch.where(scale < SMALLEST_NORMAL, sparse, scale.half().float())
    return stored.clamp_(SMALLEST_SCALE, LARGEST_SCALE)


def _cost(weight: Tensor, grid: Grid, importance: Tensor, room: tuple[Tensor, Tensor]) -> Tensor:
    """The weighed squared error of a grid, [rows, 1]; `room` is two tensors to work in."""
    steps, levels = room
    torch.div(weight, grid.scale, out=steps)
    steps += grid.zero
    torch.round(steps, out=levels).clamp_(0, grid.top).sub_(steps).square_()
    return torch.mv(levels, importance)[:, None].mul_(grid.scale.square())
