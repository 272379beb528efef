"""Refinement: the objective falls at every step, and only to what the file can hold."""

import pytest
import torch

from tests.quantize.solvers.layers import layer
from tfcli.quantize.solvers.gptq import GPTQOptions, sweep
from tfcli.quantize.solvers.grid import GridOptions, find_grids
from tfcli.quantize.solvers.hessian import Statistics
from tfcli.quantize.solvers.refine import Refinement, dequantized


def start(bits=3, width=64, symmetric=True, columns=256):
    """A weight after the sweep, and its objective tr(E H~ E') in fp64."""
    found = layer(rows=24, columns=columns, tokens=1024)
    statistics = Statistics.empty(columns)
    statistics.add(found.drifted)
    statistics.close()
    hessian = statistics.fit.inputs
    factor = statistics.factor("group", width, GPTQOptions().damping)
    grid = GridOptions(bits, width, symmetric, "mse")
    scales, zeros = (one.t().contiguous() for one in find_grids(found.weight, grid))
    weight = found.weight.t().contiguous()
    levels = sweep(weight, factor, scales, zeros, grid.top)
    refinement = Refinement(weight, levels, scales, zeros, hessian, factor.ridge, grid.top)
    damped = hessian.double() + factor.ridge.double().diag()

    def objective():
        errors = weight.double() - dequantized(levels, scales, zeros).double()
        return ((damped @ errors) * errors).sum().item()

    return refinement, objective


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "width"), [(4, 32), (3, 64), (2, 128), (2, 256)])
def test_the_objective_falls_at_every_step(bits, width, symmetric):
    refinement, objective = start(bits, width, symmetric)
    before = first = objective()
    for _ in range(2):
        for at in range(0, 256, width):
            pulls = refinement.pulls(at, at + width)
            refinement.move_scales(at, at + width, pulls)
            # What is kept up to date is what it would be found to be.
            expected = refinement.pulls(at, at + width)
            torch.testing.assert_close(pulls, expected, rtol=1e-3, atol=1e-3 * expected.abs().max())
            after = objective()
            assert after < before * (1 + 1e-6)
            before = after
            refinement.move_levels(at, at + width, pulls)
            after = objective()
            assert after < before * (1 + 1e-6)
            before = after
    assert before < 0.98 * first


@pytest.mark.parametrize(("scales", "levels"), [(True, False), (False, True)])
def test_scales_and_levels_each_have_their_share(scales, levels):
    refinement, objective = start(bits=2)
    before = objective()
    if levels:
        refinement.run(1, scales=False)
    else:
        refinement.move_scales(0, 256, refinement.pulls(0, 256))
    assert objective() < 0.99 * before


@pytest.mark.parametrize("width", [32, 48, 96, 192])  # 192 is more than a block
def test_what_is_left_cannot_be_moved_one_by_one(width):
    """After many rounds no single level and no single scale makes the objective smaller."""
    refinement, objective = start(bits=3, width=width, columns=192)
    refinement.run(40)
    least = objective()
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        column, row = (int(torch.randint(count, (), generator=generator)) for count in (192, 24))
        old = refinement.levels[column, row].clone()
        for step in (-1, 1):
            refinement.levels[column, row] = (old + step).clamp(0, refinement.top)
            assert objective() >= least * (1 - 1e-5)
        refinement.levels[column, row] = old
        group = column // width
        scale = refinement.scales[group, row].clone()
        for factor in (1 - 2**-10, 1 + 2**-10):
            refinement.scales[group, row] = scale * factor
            assert objective() >= least * (1 - 1e-5)
        refinement.scales[group, row] = scale


def test_only_what_the_file_holds_comes_out():
    refinement, _ = start(bits=2)
    refinement.run(2)
    assert torch.equal(refinement.scales, refinement.scales.half().float())
    assert torch.equal(refinement.levels, refinement.levels.round())
    assert refinement.levels.min() >= 0
    assert refinement.levels.max() <= 3


def test_a_zero_point_need_not_be_whole_and_scales_need_not_move():
    refinement, objective = start(bits=3, symmetric=False)
    refinement.zeros += 0.37
    refinement.errors = refinement.errors + 0.37 * refinement.scales.repeat_interleave(64, 0)
    scales, before = refinement.scales.clone(), objective()
    refinement.run(3, scales=False)
    assert torch.equal(refinement.scales, scales)
    assert objective() < 0.9 * before


def test_groups_of_zeros_stay_as_they_are():
    refinement, _ = start()
    refinement.levels[:64] = refinement.zeros[0]
    refinement.errors[:64] = 0
    scales = refinement.scales[0].clone()
    refinement.move_scales(0, 64, refinement.pulls(0, 64))
    assert torch.equal(refinement.scales[0], scales)
