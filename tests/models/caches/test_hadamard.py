from __future__ import annotations

import pytest
import torch

from tfcli.models.caches.hadamard import Hadamard, hadamard

WIDTHS = [1, 7, 24, 64, 72, 80, 96, 112, 128, 192, 256, 576]
"""Of heads as families have them, of a latent state with its turned part, and odd ones."""

every_width = pytest.mark.parametrize("width", WIDTHS)


@every_width
def test_the_matrix_is_orthonormal_and_its_own_inverse(width):
    matrix = hadamard(width).double()
    one = torch.eye(width, dtype=torch.double)
    assert torch.allclose(matrix @ matrix.T, one, rtol=0, atol=1e-6)
    assert torch.equal(matrix, matrix.T)


@every_width
def test_a_channel_is_spread_evenly_over_the_largest_block_that_divides_the_width(width):
    block = next(size for size in (256, 128, 64, 32, 16, 8, 4, 2, 1) if width % size == 0)
    for channel in (0, width // 2, width - 1):
        spread = Hadamard()(torch.eye(width)[channel])
        start = channel // block * block
        assert torch.allclose(spread[start : start + block].abs(), torch.tensor(block**-0.5))
        assert spread.count_nonzero() == block


@every_width
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_turned_twice_is_as_before(width, dtype):
    turn = Hadamard()
    x = torch.randn(2, 3, 5, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    turned = turn(x)
    assert turned.dtype == torch.float32
    assert torch.allclose(turned.norm(dim=-1), x.float().norm(dim=-1), rtol=1e-5)
    assert torch.allclose(turn(turned), x.float(), rtol=1e-5, atol=1e-5)
