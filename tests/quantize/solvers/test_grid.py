"""Grids: what fp16 can store, what is symmetric, and what a search is worth."""

from dataclasses import replace

import pytest
import torch

from tfcli.errors import WorkError
from tfcli.quantize.solvers import grid as grid_module
from tfcli.quantize.solvers.grid import (
    SMALLEST_SCALE,
    GridOptions,
    count_coarse_scales,
    find_grid,
    find_grids,
)
from tfcli.quantize.solvers.rtn import round_to_nearest, weight_error


def random(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_no_weight_is_further_than_half_a_step_from_its_level():
    weight = random(8, 64)
    for symmetric in (True, False):
        grid = find_grid(weight, GridOptions(bits=4, symmetric=symmetric))
        error = (grid.values(grid.levels(weight)) - weight).abs()
        # Rounding the scale to fp16 moves the outermost levels by up to 2**-11 of their value.
        assert (error <= 0.5 * grid.scale + weight.abs() * 2**-10).all()


def test_small_weights_are_no_further_than_half_a_step_either():
    """Their scales lie where fp16's numbers are far apart."""
    weight = random(64, 64) * torch.logspace(-6, -3, 64)[:, None]
    for symmetric in (True, False):
        grid = find_grid(weight, GridOptions(bits=8, symmetric=symmetric))
        error = (grid.values(grid.levels(weight)) - weight).abs()
        assert (error <= 0.5 * grid.scale + weight.abs() * 2**-10).all()


def test_symmetric_zero_point_is_the_middle_level():
    assert find_grid(random(4, 32), GridOptions(bits=3)).zero.unique().tolist() == [4.0]


def test_an_asymmetric_grid_fits_one_sided_weights_better():
    weight = random(16, 64).abs() - 0.1
    errors = {}
    for symmetric in (True, False):
        options = GridOptions(bits=4, group_size=64, symmetric=symmetric)
        errors[symmetric] = weight_error(weight, round_to_nearest(weight, options))
    assert errors[False] < 0.5 * errors[True]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("least", [0.0, 0.001, 0.1, 0.9])
def test_a_group_on_one_side_of_zero_loses_no_step(bits, side, least):
    weight = side * (random(16, 64).abs().clamp(max=3) + least)
    grid = find_grid(weight, GridOptions(bits=bits, symmetric=False))
    error = (grid.values(grid.levels(weight)) - weight).abs()
    assert (error <= 0.5 * grid.scale + weight.abs() * 2**-10).all()


def test_asymmetric_zero_points_can_be_stored_in_v1():
    weight = random(16, 64).abs() + 1  # no negative weight would put the zero point at 0
    zeros = round_to_nearest(weight, GridOptions(bits=4, group_size=64, symmetric=False)).zeros
    assert zeros.min() == 1


def test_scales_are_what_fp16_stores():
    scale = find_grid(random(64, 32), GridOptions(bits=3)).scale
    assert torch.equal(scale, scale.half().float())


def test_groups_of_zeros_and_of_tiny_weights_stay_finite():
    for weight in (torch.zeros(2, 32), torch.full((2, 32), 1e-12)):
        grid = find_grid(weight, GridOptions(bits=4))
        assert (grid.scale >= SMALLEST_SCALE).all()
        assert torch.equal(grid.values(grid.levels(weight)), torch.zeros(2, 32))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("size", "coarse"), [(0.0, 0), (1e-9, 4), (4e-7, 4), (1e-4, 0), (1.0, 0)])
def test_groups_that_fp16_scales_cannot_tell_from_zero_are_counted(symmetric, size, coarse):
    """With 8 bits: 4e-7 over 255 levels is far below fp16's smallest number."""
    options = GridOptions(bits=8, group_size=32, symmetric=symmetric)
    weight = size * random(2, 64).clamp(-3, 3)
    assert count_coarse_scales(weight, options, name="w") == coarse


@pytest.mark.parametrize("symmetric", [True, False])
def test_weights_that_need_a_scale_beyond_fp16_are_refused(symmetric):
    options = GridOptions(bits=4, group_size=32, symmetric=symmetric)
    weight = random(2, 64)
    weight[1, 5] = 1.5e6
    with pytest.raises(WorkError, match=r"up to 1\.5e\+06.*fp16.*65,504") as error:
        count_coarse_scales(weight, options, name="blocks.0.up")
    assert error.value.where == "blocks.0.up"
    assert count_coarse_scales(weight.clamp(max=2e5), options, name="blocks.0.up") == 0


def test_a_search_lowers_the_squared_error():
    weight = random(32, 128)
    plain, searched = (
        weight_error(weight, round_to_nearest(weight, GridOptions(bits=3, scale_search=search)))
        for search in ("max", "mse")
    )
    assert searched < 0.85 * plain


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4])
def test_importance_guides_the_search_by_hessian(bits, symmetric):
    weight = random(32, 128)
    importance = torch.ones(128)
    importance[::16] = 100
    costs = {}
    for search in ("max", "mse", "hessian"):
        grid = find_grid(weight, GridOptions(bits, 128, symmetric, search), importance)
        costs[search] = ((grid.values(grid.levels(weight)) - weight).square() * importance).sum()
    assert costs["hessian"] < 0.9 * min(costs["mse"], costs["max"])


def test_no_other_span_costs_less_than_the_one_that_the_search_found():
    weight, importance = random(8, 64), random(1, 64, seed=1)[0].square()
    options = GridOptions(3, 64, scale_search="hessian")
    found = find_grid(weight, options, importance)

    def cost(grid):
        error = grid.values(grid.levels(weight)) - weight
        return (error.square() * importance).sum(dim=1)

    for factor in torch.linspace(0.35, 1.15, 49):
        scale = (weight.abs().amax(dim=1, keepdim=True) * 2 / 7 * factor).half().float()
        assert (cost(found) <= cost(replace(found, scale=scale)) * (1 + 1e-5)).all()


@pytest.mark.parametrize("search", ["max", "mse", "hessian"])
@pytest.mark.parametrize("group_size", [32, 96, -1])
def test_grids_of_a_weight_are_those_of_its_groups(search, group_size, monkeypatch):
    monkeypatch.setattr(grid_module, "_PIECE", 200)  # several pieces, the last one smaller
    weight, importance = random(11, 192), random(1, 192, seed=1)[0].square()
    options = GridOptions(3, group_size, symmetric=False, scale_search=search)
    scales, zeros = find_grids(weight, options, importance)
    width = options.width(192)
    for group, start in enumerate(range(0, 192, width)):
        part = slice(start, start + width)
        found = find_grid(weight[:, part], options, importance[part])
        assert torch.equal(scales[:, group : group + 1], found.scale)
        assert torch.equal(zeros[:, group : group + 1], found.zero)
