from __future__ import annotations

import pytest
import torch

from tests.models.test_calibration import assert_walked
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.models.text.convbert import GroupedLinear

CONFIG = {
    "model_type": "convbert",
    "vocab_size": 61,
    "hidden_size": 32,
    "embedding_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.mark.parametrize("groups", [1, 2])
def test_the_walk_names_every_linear_of_a_block_in_execution_order(groups):
    model = initialize(build(read_config(CONFIG | {"num_groups": groups})))
    assert_walked(model, model.blocks[1])


def test_a_grouped_linear_is_a_linear_for_each_group():
    torch.manual_seed(0)
    grouped = GroupedLinear(6, 4, 2)
    with torch.no_grad():
        grouped.weight.normal_()
        grouped.bias.normal_()
        x = torch.randn(2, 3, 6)
        parts = [x[..., :3] @ grouped.weight[0], x[..., 3:] @ grouped.weight[1]]
        assert torch.allclose(grouped(x), torch.cat(parts, -1) + grouped.bias, atol=1e-6)
