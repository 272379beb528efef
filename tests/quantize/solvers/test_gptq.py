"""GPTQ on single weights: against a naive reference, what each step is worth, broken inputs."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from tests.quantize.solvers.layers import layer
from tfcli.errors import WorkError
from tfcli.quantize.solvers import gptq as solver
from tfcli.quantize.solvers.gptq import GPTQOptions, gptq
from tfcli.quantize.solvers.grid import GridOptions, find_grid
from tfcli.quantize.solvers.hessian import Statistics
from tfcli.quantize.solvers.rtn import round_to_nearest

PLAIN = GPTQOptions(order="natural", drift=0.0, refine=0)


def case(rows=16, columns=64, samples=512, seed=0):
    """A weight and inputs that are correlated, as activations are."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    inputs = torch.randn(samples, columns, generator=generator) @ (mixing + 0.3)
    return weight, inputs


def seen(*batches):
    """Statistics of inputs alone."""
    statistics = Statistics.empty(batches[0].shape[-1])
    for batch in batches:
        statistics.add(batch)
    return statistics


def naive_gptq(weight, inputs, grid, damping, *, static=False):
    """The paper's Algorithm 1 without blocks: one column at a time, H inverted anew each time.

    After a column is fixed, the optimal update of the columns to come is
    -(error / [H^-1]_00) * [H^-1]_0: with H restricted to the columns not yet fixed (the paper's
    equation 2), in float64. The scales are those of the updated weight, as a group is reached, or
    those of the original one.
    """
    original, weight, columns = weight, weight.double(), weight.shape[1]
    matrix = inputs.double().t() @ inputs.double()
    matrix = matrix + damping * matrix.diagonal().mean() * torch.eye(columns)
    width = grid.width(columns)
    result = torch.empty_like(weight)
    for column in range(columns):
        if column % width == 0:
            source = original if static else weight.float()
            group = find_grid(source[:, column : column + width], grid)
        inverse = torch.linalg.inv(matrix[column:, column:])
        value = weight[:, column : column + 1]
        result[:, column : column + 1] = group.values(group.levels(value.float()))
        error = (value - result[:, column : column + 1]) / inverse[0, 0]
        weight[:, column:] -= error @ inverse[:1]
    return result.float()


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    ("columns", "group_size"), [(192, 16), (192, 64), (192, 96), (192, -1), (320, 160)]
)
def test_equals_the_naive_algorithm(columns, group_size, symmetric, static):
    weight, inputs = case(rows=4, columns=columns)
    grid = GridOptions(bits=4, group_size=group_size, symmetric=symmetric)
    options = replace(PLAIN, damping=0.05, static_groups=static)

    found = gptq(weight, seen(inputs), grid, options).weight.dequantize()

    # A tie broken by rounding noise would move whole levels; with this seed there is none.
    expected = naive_gptq(weight, inputs, grid, 0.05, static=static)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("order", ["activation", "group"])
def test_an_order_is_that_of_permuted_inputs(order):
    """One group a row: then the order of the inputs is all that differs."""
    weight, inputs = case(rows=4, columns=192)
    inputs = inputs * torch.rand(192, generator=torch.Generator().manual_seed(1))
    grid = GridOptions(bits=4, group_size=-1)
    permutation = inputs.square().sum(0).argsort(descending=True)
    options = replace(PLAIN, damping=0.05, order=order, static_groups=True)

    found = gptq(weight, seen(inputs), grid, options).weight.dequantize()

    expected = naive_gptq(weight[:, permutation], inputs[:, permutation], grid, 0.05)
    torch.testing.assert_close(found[:, permutation], expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("order", ["natural", "activation", "group"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_beats_rounding_on_the_outputs(bits, order, symmetric):
    weight, inputs = case()
    grid = GridOptions(bits=bits, group_size=32, symmetric=symmetric)

    options = GPTQOptions(order=order, static_groups=order == "activation")
    result = gptq(weight, seen(inputs), grid, options)
    rounded = round_to_nearest(weight, grid).dequantize()

    def error(quantized):
        outputs = inputs @ weight.t()
        return ((outputs - inputs @ quantized.t()).square().sum() / outputs.square().sum()).item()

    assert error(result.weight.dequantize()) < 0.5 * error(rounded)
    assert result.error == pytest.approx(error(result.weight.dequantize()), rel=1e-2)


STEPS = {
    "mse": ("mse", GPTQOptions(drift=0.0, refine=0)),
    "natural": ("mse", GPTQOptions(drift=0.0, refine=0, order="natural")),
    "static": ("hessian", GPTQOptions(drift=0.0, refine=0, static_groups=True)),
    "hessian": ("hessian", GPTQOptions(drift=0.0, refine=0)),
    "refine": ("hessian", GPTQOptions(drift=0.0, refine=2)),
    "drift": ("hessian", GPTQOptions()),
}


@cache
def held_out_errors(bits):
    """The error of each row of `STEPS` on tokens that were not calibrated with."""
    totals = dict.fromkeys(STEPS, 0.0)
    for seed in range(2):
        found = layer(drift=0.03, seed=seed)
        windows = [one.view(-1, 64, 256) for one in (found.drifted, found.dense)]
        for step, (search, options) in STEPS.items():
            drift = options.drift != 0
            statistics = Statistics.empty(256, drift=drift, hold_out=drift)
            statistics.add(*windows)
            grid = GridOptions(bits, 64, scale_search=search)
            quantized = gptq(found.weight, statistics, grid, options).weight
            totals[step] += found.held_out_error(quantized.dequantize())
    return totals


@pytest.mark.parametrize(
    ("bits", "better", "worse", "at_most"),
    [
        # Seen: 0.70 and 0.68; 0.66 and 0.65; 0.98 and 0.98; 0.97 and 0.93; 0.72 and 0.97.
        (4, "mse", "natural", 0.75),
        (2, "mse", "natural", 0.75),
        (4, "hessian", "mse", 0.75),
        (2, "hessian", "mse", 0.75),
        (4, "hessian", "static", 0.99),
        (2, "hessian", "static", 0.995),
        (4, "refine", "hessian", 0.98),
        (2, "refine", "hessian", 0.94),
        (4, "drift", "refine", 0.8),
        (2, "drift", "refine", 0.99),
    ],
)
def test_every_step_lowers_the_error_on_tokens_not_seen(bits, better, worse, at_most):
    errors = held_out_errors(bits)
    assert errors[better] < at_most * errors[worse]


def test_linears_that_share_inputs_are_each_as_if_alone():
    found = layer(rows=32, columns=128, tokens=512)
    windows = [one.view(-1, 64, 128) for one in (found.drifted, found.dense)]
    grid = GridOptions(3, 32, scale_search="hessian")

    def statistics():
        made = Statistics.empty(128, drift=True, hold_out=True)
        made.add(*windows)
        return made

    shared = statistics()
    for weight in found.weight.split(16):
        together = gptq(weight, shared, grid, GPTQOptions())
        alone = gptq(weight, statistics(), grid, GPTQOptions())
        assert torch.equal(together.weight.levels, alone.weight.levels)
        assert torch.equal(together.weight.scales, alone.weight.scales)


def test_dead_inputs_are_counted_and_rounded_to_nearest():
    weight, inputs = case()
    inputs[:, [3, 40]] = 0
    grid = GridOptions(bits=4, group_size=-1)

    result = gptq(weight, seen(inputs), grid, GPTQOptions(damping=1e-4))

    assert result.dead == 2
    quantized = result.weight.dequantize()
    assert torch.isfinite(quantized).all()
    step = result.weight.scales
    within = weight.abs() < 7 * step  # the scale may have left the largest outside
    error = (quantized - weight).abs()
    assert (error <= 0.5 * step + 1e-3)[:, [3, 40]][within[:, [3, 40]]].all()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_dead_inputs_change_nothing_for_the_live_ones(size):
    """Damping is measured by the live ones, whatever their size beside a constant."""
    weight, inputs = case()
    options, grid = GPTQOptions(damping=0.1), GridOptions(bits=4, group_size=64)
    beside = torch.cat([size * inputs, torch.zeros_like(inputs)], dim=1)
    expected = gptq(weight, seen(size * inputs), grid, options).weight.levels
    found = gptq(torch.cat([weight, 0 * weight], dim=1), seen(beside), grid, options).weight.levels
    assert (found[:, :64] != expected).float().mean() < 0.005  # ties by rounding noise


def test_inputs_that_were_all_zero_give_plain_rounding():
    weight, _ = case()
    grid = GridOptions(bits=4, group_size=32)

    result = gptq(weight, seen(torch.zeros(8, 64)), grid, PLAIN)

    assert torch.equal(result.weight.levels, round_to_nearest(weight, grid).levels)
    assert result.error == 0.0


def test_inputs_that_are_not_finite_are_an_error_that_names_the_weight():
    weight, inputs = case()
    inputs[0, 0] = float("inf")
    with pytest.raises(WorkError, match=r"not finite.*blocks\.0"):
        gptq(weight, seen(inputs), GridOptions(bits=4), GPTQOptions(), name="blocks.0")


def test_output_error_is_that_of_the_outputs():
    weight, inputs = case()
    found = gptq(weight, seen(inputs), GridOptions(bits=4, group_size=32), GPTQOptions())
    change = found.weight.dequantize() - weight
    expected = (inputs @ change.t()).square().sum() / (inputs @ weight.t()).square().sum()
    assert found.error == pytest.approx(expected.item(), rel=1e-4)


def test_outputs_that_are_solved_for_a_few_at_a_time_are_the_same(monkeypatch):
    weight, inputs = case()
    whole = gptq(weight, seen(inputs), GridOptions(bits=4, group_size=32), GPTQOptions())
    monkeypatch.setattr(solver, "AT_ONCE", 5 * weight.shape[1])
    parts = gptq(weight, seen(inputs), GridOptions(bits=4, group_size=32), GPTQOptions())
    assert parts.weight.equals(whole.weight)
    assert parts.error == pytest.approx(whole.error, rel=1e-4)
