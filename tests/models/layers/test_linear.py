from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tfcli.models.layers.linear import linear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 6), (6,), (2, 3, 6), (0, 6)])
def test_equals_torch(shape, bias):
    torch.manual_seed(0)
    layer, x = linear(6, 4, bias), torch.randn(shape)
    expected = F.linear(x, layer.weight, layer.bias)
    with torch.no_grad():
        assert torch.allclose(layer(x), expected, atol=1e-6)
    assert layer(x).shape == expected.shape


def test_a_single_row_still_has_a_gradient():
    layer, x = linear(6, 4, True), torch.randn(1, 6, requires_grad=True)
    layer(x).sum().backward()
    assert torch.allclose(x.grad[0], layer.weight.sum(0), atol=1e-6)


def test_autocast_decides_the_dtype():
    layer, x = linear(6, 4, False), torch.randn(1, 6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == layer(torch.randn(2, 6)).dtype == torch.bfloat16
