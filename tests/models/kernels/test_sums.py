"""Sums of products of bfloat16: as exact as float32 adds, the same for any number of threads."""

from __future__ import annotations

import pytest
import torch

from tfcli.models.kernels.sums import add_products


@pytest.fixture
def fast(level):
    if level != "avx512_bf16":
        pytest.skip("such a product takes other instructions")


@pytest.mark.parametrize("tokens", [1, 2, 700, 1500])  # a part of a step through tokens, and more
@pytest.mark.parametrize(("n", "k"), [(5, 33), (64, 32), (130, 47)])
def test_as_exact_as_float32(fast, tokens, n, k):
    torch.manual_seed(n)
    a, b = torch.randn(tokens, n).bfloat16(), torch.randn(tokens, k).bfloat16()
    found, square = torch.ones(n, k), torch.ones(n, n)
    assert add_products(found, a, b)
    assert add_products(square, a)
    torch.testing.assert_close(found, a.float().t() @ b.float() + 1, rtol=1e-5, atol=1e-3)
    expected = a.float().t() @ a.float() + 1
    torch.testing.assert_close(square.triu(), expected.triu(), rtol=1e-5, atol=1e-3)


def test_the_bits_do_not_depend_on_threads(fast):
    torch.manual_seed(0)
    a, threads, found = torch.randn(300, 200).bfloat16(), torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(torch.zeros(200, 200))
            add_products(found[-1], a)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, found[0]) for each in found)


def test_other_types_and_other_processors_are_left_to_torch(level):
    sums = torch.zeros(8, 8)
    assert not add_products(sums, torch.ones(4, 8))
    assert add_products(sums, torch.ones(4, 8).bfloat16()) == (level == "avx512_bf16")
