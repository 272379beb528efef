"""What quantized values are in fp32, one number at a time."""

import pytest
import torch

from tfcli.models.layouts.values import Affine, runs


def affine(n: int, group_size: int, index: torch.Tensor | None = None) -> Affine:
    generator = torch.Generator().manual_seed(0)
    groups = -(-n // group_size)
    return Affine(
        levels=torch.randint(16, (6, n), generator=generator).to(torch.uint8),
        scales=torch.rand(6, groups, generator=generator).half(),
        zeros=torch.rand(6, groups, generator=generator) * 15,
        bits=4,
        group_size=group_size,
        group_index=index,
    )


@pytest.mark.parametrize(("n", "group_size"), [(24, 4), (24, 8), (24, 24), (10, 4)])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_weight_is_its_level_less_the_zero_point_times_the_scale(n, group_size, ordered):
    index = runs(n, group_size).flip(0) if ordered else None
    values = affine(n, group_size, index)
    weight = values.dequantize()
    for o in range(6):
        for i in range(n):
            g = int(index[i]) if ordered else i // group_size
            exact = (values.levels[o, i].float() - values.zeros[o, g]) * values.scales[o, g].float()
            assert weight[o, i] == exact
    assert torch.equal(values.dequantize(torch.bfloat16), weight.bfloat16())


def test_runs_are_groups_of_neighbours_and_the_last_may_be_shorter():
    assert runs(6, 2).tolist() == [0, 0, 1, 1, 2, 2]
    assert runs(5, 2).tolist() == [0, 0, 1, 1, 2]
    assert runs(4, -1).tolist() == [0, 0, 0, 0]
