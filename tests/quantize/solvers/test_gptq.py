"""GPTQ on single weights: against a naive reference, and on the inputs that break it."""

import pytest
import torch

from tfcli.errors import WorkError
from tfcli.quantize.solvers.gptq import GPTQOptions, Hessian, gptq, inverse_factor, output_error
from tfcli.quantize.solvers.grid import GridOptions, find_grid
from tfcli.quantize.solvers.rtn import round_to_nearest


def case(rows=16, columns=64, samples=512, seed=0):
    """A weight and inputs that are correlated, as activations are."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    inputs = torch.randn(samples, columns, generator=generator) @ (mixing + 0.3)
    hessian = Hessian.empty(columns)
    hessian.add(inputs)
    return weight, inputs, hessian


def naive_gptq(weight, matrix, grid, damping):
    """The paper's Algorithm 1 without blocks: one column at a time, H inverted anew each time.

    After a column is fixed, the optimal update of the columns to come is
    -(error / [H^-1]_00) * [H^-1]_0: with H restricted to the columns not yet fixed (the paper's
    equation 2), in float64.
    """
    weight, columns = weight.double(), weight.shape[1]
    matrix = matrix.double() + damping * matrix.diagonal().mean().double() * torch.eye(columns)
    width = grid.width(columns)
    result = torch.empty_like(weight)
    for column in range(columns):
        if column % width == 0:
            group = find_grid(weight[:, column : column + width].float(), grid)
        inverse = torch.linalg.inv(matrix[column:, column:])
        value = weight[:, column : column + 1]
        result[:, column : column + 1] = group.values(group.levels(value.float()))
        error = (value - result[:, column : column + 1]) / inverse[0, 0]
        weight[:, column:] -= error @ inverse[:1]
    return result.float()


@pytest.mark.parametrize("group_size", [32, 64, 96, 192, -1])
def test_equals_the_naive_algorithm(group_size):
    weight, _, hessian = case(rows=4, columns=192)
    grid = GridOptions(bits=4, group_size=group_size)

    result = gptq(weight, hessian, grid, GPTQOptions(damping=0.05, act_order=False))
    found = result.weight.dequantize()

    # A tie broken by rounding noise would move whole levels; with this seed there is none.
    torch.testing.assert_close(found, naive_gptq(weight, hessian.matrix, grid, 0.05))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_beats_rounding_on_the_outputs(bits, act_order, symmetric):
    weight, inputs, hessian = case()
    grid = GridOptions(bits=bits, group_size=32, symmetric=symmetric)

    result = gptq(weight, hessian, grid, GPTQOptions(act_order=act_order))
    rounded = round_to_nearest(weight, grid).dequantize()

    def error(quantized):
        outputs = inputs @ weight.t()
        return ((outputs - inputs @ quantized.t()).square().sum() / outputs.square().sum()).item()

    assert error(result.weight.dequantize()) < 0.5 * error(rounded)
    assert result.error == pytest.approx(error(result.weight.dequantize()), rel=1e-2)


def test_act_order_rounds_the_most_important_inputs_first():
    weight, _, hessian = case()
    scale = torch.linspace(0.05, 2, 64)  # the last inputs matter most
    hessian.matrix *= scale[:, None] * scale
    grid = GridOptions(bits=3, group_size=32)

    plain, ordered = (
        gptq(weight, hessian, grid, GPTQOptions(act_order=order)) for order in (False, True)
    )

    assert ordered.error < plain.error
    assert ordered.weight.group_index is None  # groups are runs in either order


def test_the_hessian_is_the_mean_over_all_batches():
    _, inputs, _ = case()
    parts = Hessian.empty(64)
    for part in inputs.split([100, 400, 12]):
        parts.add(part.reshape(1, -1, 64))
    assert parts.count == 512
    torch.testing.assert_close(parts.matrix, 2 * inputs.t() @ inputs / 512)


def test_dead_inputs_are_counted_and_rounded_to_nearest():
    weight, inputs, _ = case()
    inputs[:, [3, 40]] = 0
    hessian = Hessian.empty(64)
    hessian.add(inputs)
    grid = GridOptions(bits=4, group_size=-1)

    result = gptq(weight, hessian, grid, GPTQOptions(damping=1e-4))

    assert result.dead == 2
    quantized = result.weight.dequantize()
    assert torch.isfinite(quantized).all()
    step = result.weight.scales
    assert ((quantized - weight)[:, [3, 40]].abs() <= 0.5 * step + 1e-3).all()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_dead_inputs_change_nothing_for_the_live_ones(size):
    """Damping is measured by the live ones, whatever their size beside a constant."""
    weight, inputs, _ = case()
    options, grid = GPTQOptions(damping=0.1), GridOptions(bits=4, group_size=-1)
    alone, beside = Hessian.empty(64), Hessian.empty(128)
    alone.add(size * inputs)
    beside.add(torch.cat([size * inputs, torch.zeros_like(inputs)], dim=1))
    expected = gptq(weight, alone, grid, options).weight.levels
    found = gptq(torch.cat([weight, 0 * weight], dim=1), beside, grid, options).weight.levels
    assert (found[:, :64] != expected).float().mean() < 0.005  # ties by rounding noise


def test_inputs_that_were_all_zero_give_plain_rounding():
    weight, _, _ = case()
    hessian = Hessian.empty(64)
    hessian.add(torch.zeros(8, 64))
    grid = GridOptions(bits=4, group_size=32)

    result = gptq(weight, hessian, grid, GPTQOptions())

    assert torch.equal(result.weight.levels, round_to_nearest(weight, grid).levels)
    assert result.error == 0.0


def test_a_failed_cholesky_raises_the_damping_and_says_so():
    matrix = torch.eye(4)
    matrix[0, 1] = matrix[1, 0] = 1.05  # an eigenvalue of -0.05: damping of 0.01 is not enough
    factor, damping = inverse_factor(matrix, 0.01)
    assert damping == pytest.approx(0.1)
    torch.testing.assert_close(
        factor.t() @ factor, torch.linalg.inv(matrix + damping * torch.eye(4))
    )


def test_a_hopeless_or_non_finite_hessian_is_an_error_that_names_the_weight():
    with pytest.raises(WorkError, match="no Cholesky factor"):
        inverse_factor(torch.eye(2) - 100 * torch.ones(2, 2), 0.01, name="blocks.0.q_proj")
    weight, _, hessian = case()
    hessian.matrix[0, 0] = float("inf")
    with pytest.raises(WorkError, match=r"not finite.*blocks\.0"):
        gptq(weight, hessian, GridOptions(bits=4), GPTQOptions(), name="blocks.0")


def test_output_error_is_that_of_the_outputs():
    weight, inputs, hessian = case()
    quantized = weight + 0.1
    outputs, changed = inputs @ weight.t(), inputs @ quantized.t()
    expected = (outputs - changed).square().sum() / outputs.square().sum()
    assert output_error(weight, quantized, hessian.matrix) == pytest.approx(expected.item())
