"""The loops of rounding: what they say in words, element by element, in float64."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.kernels.rounding import (
    move_columns,
    nearest_levels,
    round_columns,
    search_scales,
)
from tfcli.quantize.solvers.grid import FACTORS, GridOptions, find_grid

COLUMNS, OUTPUTS, GROUPS, TOP = 10, 45, 3, 15  # outputs fill one step of 32, and not the next


@pytest.fixture
def given():
    torch.manual_seed(0)
    near = 0.3 * torch.randn(COLUMNS, COLUMNS)
    groups = torch.randint(GROUPS, (COLUMNS,))
    scales, zeros = 0.1 + torch.rand(GROUPS, OUTPUTS), torch.full((GROUPS, OUTPUTS), 8.0)
    return near, groups, scales, zeros


def test_a_column_answers_for_the_errors_of_those_after_it(level, given):
    near, groups, scales, zeros = given
    weight, later = torch.randn(COLUMNS, OUTPUTS), 0.1 * torch.randn(COLUMNS, OUTPUTS)
    inputs = torch.randperm(2 * COLUMNS)[:COLUMNS]
    errors, levels = torch.empty(COLUMNS, OUTPUTS), torch.full((2 * COLUMNS, OUTPUTS), -1.0)
    given = (weight + later, weight, near, groups, scales, zeros, inputs, errors, levels, TOP)
    assert round_columns(*given)
    for column in range(COLUMNS):
        scale, zero = scales[groups[column]].double(), zeros[groups[column]].double()
        asked = near[column, column + 1 :].double() @ errors[column + 1 :].double()
        wanted = (weight + later)[column].double() + asked
        found = levels[inputs[column]].double()
        assert ((wanted / scale + zero).clamp(0, TOP) - found).abs().max() <= 0.5 + 1e-5
        rounded = (found - zero) * scale
        torch.testing.assert_close(errors[column].double(), weight[column] - rounded)
    untouched = torch.ones(2 * COLUMNS, dtype=torch.bool)
    untouched[inputs] = False
    assert (levels[untouched] == -1).all()


def test_a_level_moves_to_where_its_pull_ends(level, given):
    near, groups, scales, _ = given
    pulls, diagonal = torch.randn(COLUMNS, OUTPUTS), 1 + torch.rand(COLUMNS)
    errors = torch.randn(COLUMNS, OUTPUTS)
    before = torch.randint(TOP + 1, (COLUMNS, OUTPUTS)).float()
    levels, left = before.clone(), errors.clone()
    assert move_columns(pulls, near, diagonal, groups, scales, left, levels, TOP)
    moved = (levels - before).double() * scales[groups]
    assert (levels != before).any()
    torch.testing.assert_close(left.double(), errors - moved)
    for column in range(COLUMNS):
        pull = pulls[column] - near[column, :column].double() @ moved[:column]
        wanted = before[column] + pull / diagonal[column] / scales[groups[column]]
        assert (wanted.clamp(0, TOP) - levels[column]).abs().max() <= 0.5 + 1e-5


@pytest.mark.parametrize("search", ["max", "mse", "hessian"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4])
def test_scales_are_those_that_torch_finds(level, bits, symmetric, search):
    torch.manual_seed(bits)
    weight, importance = torch.randn(37, 3 * 24), torch.rand(3 * 24)
    weight[5] *= 1e-6  # fp16 is coarse there
    weight[6] = 0
    weight[:, 24:48].abs_()  # nothing below zero
    options = GridOptions(bits, 24, symmetric, search)
    costs = importance if search == "hessian" else None
    factors = () if search == "max" else FACTORS
    # Strides of either kind: rows together, and columns.
    for given in (weight, weight.t().contiguous().t()):
        scales, zeros = search_scales(
            given, 24, costs, factors, symmetric=symmetric, top=options.top
        )
        for group in range(3):
            part = slice(24 * group, 24 * group + 24)
            grid = find_grid(weight[:, part], options, importance[part])
            same = (scales[:, group] == grid.scale[:, 0]) & (zeros[:, group] == grid.zero[:, 0])
            if search == "max":
                assert same.all()
            # Elsewhere two may cost the same but for rounding.
            assert same.sum() >= 35


@pytest.mark.parametrize("width", [5, 16, 40])
@pytest.mark.parametrize("top", [3, 255])
def test_levels_are_those_that_torch_finds(level, width, top):
    torch.manual_seed(width)
    weight, scales = 4 * torch.randn(7, 3 * width), 0.01 + torch.rand(7, 3)
    zeros, levels = torch.full((7, 3), (top + 1) // 2.0), torch.full((8, 3 * width), 77).byte()
    assert nearest_levels(weight, scales, zeros, levels[:7], top)
    steps = weight.view(7, 3, width) / scales[:, :, None] + zeros[:, :, None]
    assert torch.equal(levels[:7].float(), steps.round().clamp(0, top).view(7, -1))
    assert (levels[7] == 77).all()


@pytest.mark.parametrize("name", ["round", "search"])
def test_the_bits_do_not_depend_on_threads(level, given, name):
    near, groups, scales, zeros = given
    weight, threads, found = torch.randn(COLUMNS, OUTPUTS), torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            if name == "search":
                found += search_scales(weight.t(), 5, None, FACTORS, symmetric=False, top=TOP)[:1]
                continue
            errors, levels = torch.empty(2, COLUMNS, OUTPUTS)
            inputs = torch.arange(COLUMNS)
            round_columns(weight, weight, near, groups, scales, zeros, inputs, errors, levels, TOP)
            found.append(errors)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, found[0]) for each in found)


def test_what_is_no_plain_float32_is_left_to_torch(level, given):
    near, groups, scales, zeros = given
    weight = torch.randn(COLUMNS, OUTPUTS)
    errors, levels = torch.empty(2, COLUMNS, OUTPUTS)
    for odd in (weight.double(), torch.randn(OUTPUTS, COLUMNS).t()):
        inputs = torch.arange(COLUMNS)
        assert not round_columns(
            odd, weight, near, groups, scales, zeros, inputs, errors, levels, TOP
        )
        assert not move_columns(odd, near, near[0], groups, scales, errors, levels, TOP)
    assert search_scales(weight.double(), 5, None, (), symmetric=True, top=TOP) is None
