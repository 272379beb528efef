from __future__ import annotations

import pytest
import torch
from torch import nn

from tfcli.models.context import begin
from tfcli.models.layers.convolution import convolve, neighbours, without_padding


def test_neighbours_end_where_the_text_ends():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[None, :, None]
    segments = torch.tensor([[7, 7, 0, 0, 0]])
    assert neighbours(x, 3)[0, :, 0].tolist() == [
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 5],
        [4, 5, 0],
    ]
    assert neighbours(x, 3, segments)[0, :, 0].tolist() == [
        [0, 1, 2],
        [1, 2, 0],
        [0, 3, 4],
        [3, 4, 5],
        [4, 5, 0],
    ]


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_packed_texts_are_convolved_as_if_they_were_alone(groups):
    torch.manual_seed(0)
    conv = nn.Conv1d(6, 12, 5, groups=groups)
    x, sizes = torch.randn(1, 9, 6), [4, 2, 3]
    segments = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))[None]
    with torch.no_grad():
        packed = convolve(conv, x, segments)
        alone = torch.cat([convolve(conv, part) for part in x.split(sizes, dim=1)], dim=1)
        one_text = convolve(conv, x, torch.zeros(1, 9, dtype=torch.long))
    assert torch.allclose(packed, alone, atol=1e-6)
    assert torch.allclose(one_text, convolve(conv, x), atol=1e-6)


def test_padded_positions_become_zeros():
    x = torch.ones(2, 3, 2)
    mask = torch.tensor([[1, 1, 1], [0, 1, 1]])
    assert without_padding(x, begin(x)) is x
    assert without_padding(x, begin(x, attention_mask=mask)).sum(-1).tolist() == [
        [2, 2, 2],
        [0, 2, 2],
    ]
