"""Few rows with a dense weight: as exact as torch, with the same bits alone and among others."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tfcli.models.kernels import dense, library
from tfcli.models.kernels.dense import fits, matvec
from tfcli.models.layers.linear import Linear, product

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
# Inputs that fill steps of 16 and 32, that do not, and more than one chunk of them.
@pytest.mark.parametrize(("m", "n"), [(5, 1), (1, 31), (33, 64), (18, 100), (5, 9001)])
def test_as_exact_as_torch(level, dtype, m, n):
    torch.manual_seed(n)
    weight, bias = torch.randn(m, n).to(dtype), torch.randn(m).to(dtype)
    for rows in (1, 2, 3, 4, 5, 6, 7, 8, 11):
        x = torch.randn(rows, n).to(dtype)
        exact = x.double() @ weight.double().T
        size = (x.double().abs() @ weight.double().abs().T).norm()
        for shift in (None, bias):
            if shift is not None:
                exact = exact + shift.double()
            found = matvec(weight, x, shift)
            assert found.dtype == dtype
            most = 1.2 * (F.linear(x, weight, shift) - exact).norm() + 1e-7 * size
            assert (found - exact).norm() <= most


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_of_a_row_do_not_depend_on_threads_other_rows_or_places(level, dtype):
    torch.manual_seed(0)
    weight, x = torch.randn(150, 5000).to(dtype), torch.randn(8, 5000).to(dtype)
    wide = torch.randn(150, 5007).to(dtype)
    wide[:, 3:5003] = weight
    threads = torch.get_num_threads()
    try:
        found = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(matvec(weight, x))
            found.append(torch.cat([matvec(weight, x[i : i + 1]) for i in range(8)]))
            found.append(torch.cat([matvec(weight, x[:3]), matvec(weight, x[3:])]))
            found.append(matvec(wide[:, 3:5003], x))
            found.append(torch.cat([matvec(weight[:7], x), matvec(weight[7:], x)], -1))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, found[0]) for each in found)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_shows(level, dtype, value):
    weight, x = torch.ones(4, 100, dtype=dtype), torch.ones(2, 100, dtype=dtype)
    x[1, 99] = value
    assert matvec(weight, x).isfinite().all(-1).tolist() == [True, False]


def test_which_weights_and_rows_it_is_for():
    weight = torch.empty(256, 256)
    assert fits(weight, 1) and fits(weight, dense.MOST_ROWS)
    assert not fits(weight, dense.MOST_ROWS + 1) and not fits(weight, 0)
    assert not fits(weight[:200], 1)  # too small
    assert not fits(weight.double(), 1)
    assert not fits(torch.empty(256, 512).t(), 1)
    assert fits(torch.empty(256, 512)[:, :256], 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_linear_layer_takes_it_where_no_gradient_is_asked_for(level, dtype):
    torch.manual_seed(0)
    layer = Linear(512, 256).to(dtype)
    few, many = torch.randn(1, 3, 512).to(dtype), torch.randn(3, 3, 512).to(dtype)
    with torch.no_grad():
        assert torch.equal(layer(few), matvec(layer.weight, few, layer.bias))
        alone = torch.stack([layer(row) for row in few[0]])
        assert torch.equal(alone, layer(few)[0])
        assert layer(many).shape == (3, 3, 256)
    assert layer(few).requires_grad
    layer(few).sum().backward()
    assert layer.weight.grad is not None


def test_switched_off_the_linear_layer_multiplies_by_torch(level, monkeypatch):
    torch.manual_seed(0)
    weight, x = torch.randn(256, 512), torch.randn(2, 512)
    ours = product(x, weight, None)
    monkeypatch.setenv(library.VARIABLE, "off")
    assert matvec(weight, x) is None
    torch.testing.assert_close(product(x, weight, None), ours, rtol=1e-4, atol=1e-4)
