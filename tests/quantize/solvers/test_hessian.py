"""What calibration keeps of inputs: sums that add up, orders, factors, and where they end."""

import pytest
import torch

from tfcli.errors import WorkError
from tfcli.quantize.solvers.hessian import (
    Moments,
    Statistics,
    energy,
    factorize,
    positions,
    solve,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("columns", [48, 512, 1100])  # within a panel of sums, one, and several
def test_moments_are_the_sums_over_all_batches(columns):
    quantized = normal(256, columns)
    dense = quantized + 0.1 * normal(256, columns, seed=1)
    moments = Moments.empty(columns, drift=True)
    for one, other in zip(
        quantized.split([100, 140, 16]), dense.split([100, 140, 16]), strict=True
    ):
        moments.add(one.reshape(2, -1, columns), other.reshape(2, -1, columns))
    moments.mirror()
    torch.testing.assert_close(moments.inputs, quantized.t() @ quantized, atol=1e-3, rtol=1e-4)
    # G = sum x xh', of which K is what is left without H.
    expected = dense.t() @ quantized
    torch.testing.assert_close(moments.inputs + moments.drift, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("columns", [48, 600])  # within a panel, and more than one
def test_moments_of_bfloat16_are_those_of_the_same_numbers_in_float32(columns):
    quantized = normal(3, 40, columns).bfloat16()
    dense = (quantized + 0.1 * normal(3, 40, columns, seed=1)).bfloat16()
    quick, slow = (Moments.empty(columns, drift=True) for _ in range(2))
    quick.add(quantized, dense)
    slow.add(quantized.float(), dense.float())
    for moments in (quick, slow):
        moments.mirror()
    torch.testing.assert_close(quick.inputs, slow.inputs, atol=1e-4, rtol=1e-5)
    assert torch.equal(quick.inputs, quick.inputs.t())
    # Each number of the drift is rounded to 8 bits.
    assert (quick.drift - slow.drift).norm() < 2e-3 * slow.drift.norm()


def test_sums_of_two_processes_add_up_to_those_of_one():
    quantized, dense = normal(8, 32, 48), normal(8, 32, 48, seed=1)
    whole, half, other = (Statistics.empty(48, drift=True, hold_out=True) for _ in range(3))
    whole.add(quantized, dense)
    half.add(quantized[:3], dense[:3])
    other.add(quantized[3:], dense[3:])
    half.fit.absorb(other.fit)
    half.held.absorb(other.held)
    for statistics in (whole, half):
        statistics.close()
    for found, expected in ((half.fit, whole.fit), (half.held, whole.held)):
        torch.testing.assert_close(found.inputs, expected.inputs, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(found.drift, expected.drift, atol=1e-4, rtol=1e-5)


def test_held_out_is_the_last_eighth_of_each_window_and_counts_in_the_end():
    quantized = normal(3, 16, 24)
    statistics = Statistics.empty(24, drift=True, hold_out=True)
    for window in quantized:  # whatever the batch size
        statistics.add(window[None], window[None])
    statistics.close()
    ends, rows = quantized[:, 14:].reshape(-1, 24), quantized.reshape(-1, 24)
    torch.testing.assert_close(statistics.held.inputs, ends.t() @ ends)
    torch.testing.assert_close(statistics.fit.inputs, rows.t() @ rows)
    assert statistics.fit.drift.abs().max() == 0


def test_a_window_of_one_token_is_held_out_wholly_and_an_empty_fit_harms_nothing():
    statistics = Statistics.empty(8, drift=True, hold_out=True)
    statistics.add(normal(4, 1, 8), normal(4, 1, 8, seed=1))
    statistics.close()
    torch.testing.assert_close(statistics.fit.inputs, statistics.held.inputs)


def test_orders_take_the_most_active_first_which_is_the_last_position():
    diagonal = torch.tensor([1.0, 5, 2, 4, 0, 9, 3, 8])
    assert positions(diagonal, "natural", 4).flip(0).tolist() == list(range(8))
    assert positions(diagonal, "activation", 4).flip(0).tolist() == [5, 7, 1, 3, 6, 2, 0, 4]
    # The group of 9 and 8 comes first, then that of 5; each by itself in falling order.
    assert positions(diagonal, "group", 4).flip(0).tolist() == [5, 7, 6, 4, 1, 3, 2, 0]


@pytest.mark.parametrize("columns", [16, 700])
def test_the_factor_is_that_of_the_damped_matrix_in_its_order(columns):
    inputs = normal(2 * columns, columns)
    hessian = inputs.t() @ inputs
    order = torch.randperm(columns, generator=torch.Generator().manual_seed(0))
    factor = factorize(hessian, order, 0.05)
    damped = hessian + 0.05 * hessian.diagonal().mean() * torch.eye(columns)
    lower = factor.lower.tril()
    torch.testing.assert_close(lower @ lower.t(), damped[order][:, order], atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(hessian.diagonal() + factor.ridge, damped.diagonal())

    part = inputs[::3].t() @ inputs[::3]
    without = factorize(hessian, order, 0.05, without=part)
    rest = factorize(hessian - part, order, 0.05)
    torch.testing.assert_close(without.lower.tril(), rest.lower.tril(), atol=1e-3, rtol=1e-3)

    right = normal(5, columns, seed=1)
    torch.testing.assert_close(solve(right, factor) @ damped, right, atol=1e-3, rtol=1e-3)


def test_a_failed_factorization_raises_the_damping_and_says_so():
    matrix = torch.eye(4)
    matrix[0, 1] = matrix[1, 0] = 1.05  # an eigenvalue of -0.05: damping of 0.01 is not enough
    factor = factorize(matrix, torch.arange(4), 0.01)
    assert factor.damping == pytest.approx(0.1)
    lower = factor.lower.tril()
    torch.testing.assert_close(lower @ lower.t(), matrix + 0.1 * torch.eye(4))


def test_a_hopeless_or_non_finite_hessian_is_an_error_that_names_the_weight():
    with pytest.raises(WorkError, match="no Cholesky factor") as error:
        factorize(torch.eye(2) - 100 * torch.ones(2, 2), torch.arange(2), 0.01, name="q_proj")
    assert error.value.where == "q_proj"
    for place in ("inputs", "drift"):
        statistics = Statistics.empty(4, drift=True)
        getattr(statistics.fit, place)[1, 2] = float("nan")
        with pytest.raises(WorkError, match="not finite") as error:
            statistics.close(name="q_proj")
        assert error.value.where == "q_proj"


@pytest.mark.parametrize("columns", [16, 700])
def test_energy_is_the_trace_of_the_quadratic_form(columns):
    inputs, rows = normal(40, columns), normal(6, columns, seed=1)
    expected = (rows @ inputs.t()).square().sum()
    assert energy(rows, inputs.t() @ inputs) == pytest.approx(expected.item(), rel=1e-4)
