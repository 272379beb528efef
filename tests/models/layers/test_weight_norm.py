"""Weight norm beside torch's parametrization, with its names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tfcli.models.layers.weight_norm import NormedConv


@pytest.mark.parametrize("kernel", [4, 5])
def test_the_convolution_is_that_of_torch_and_keeps_the_length(kernel):
    theirs = nn.Conv1d(8, 8, kernel, padding=kernel // 2, groups=2)
    theirs = nn.utils.parametrizations.weight_norm(theirs, dim=2)
    with torch.no_grad():
        theirs.parametrizations.weight.original0.mul_(1.7)
    ours = NormedConv(8, kernel, 2)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 11)
    assert torch.allclose(ours(x), theirs(x)[..., :11], atol=1e-6)
