"""A step at each token: in a loop, and as one loop in an exported graph."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.layers.recurrence import Tensors, recur


def mean_so_far(state: Tensors, token: Tensors) -> tuple[Tensors, torch.Tensor]:
    total, count = state[0] + token[0], state[1] + 1
    return (total, count), total / count


class Means(nn.Module):
    """The mean of each token and those before it. x (Tensor): [b, s, d] -> [b, s, d]"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = (torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0]))
        return recur(mean_so_far, state, (x,))[1]


def test_the_state_goes_from_token_to_token():
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    (total, count), means = recur(mean_so_far, (torch.zeros(2, 3), torch.zeros(2, 3)), (x,))
    torch.testing.assert_close(means, x.cumsum(1) / torch.arange(1, 6)[:, None])
    torch.testing.assert_close(total, x.sum(1))
    assert (count == 5).all()


def test_an_exported_graph_takes_any_number_of_tokens():
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.export.export(Means(), (torch.zeros(2, 5, 3),), dynamic_shapes=(any_size,))
    for rows, length in ((1, 1), (4, 9)):
        x = torch.randn(rows, length, 3, generator=torch.Generator().manual_seed(length))
        torch.testing.assert_close(program.module()(x), Means()(x))
