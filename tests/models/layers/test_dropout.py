from __future__ import annotations

import torch
from torch import nn

from tfcli.models.layers.dropout import dropout_of


def test_dropout_of_zero_is_no_dropout():
    assert isinstance(dropout_of(0.0), nn.Identity)
    dropped = dropout_of(0.25)(torch.ones(4000))
    assert 0.2 < (dropped == 0).float().mean() < 0.3
