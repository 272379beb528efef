from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.heads.test_masked_lm import TINY
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize, load_weights
from tfcli.models.registry import read_config

IDS = torch.arange(4, 12)[None]


@pytest.mark.parametrize(
    ("layers", "groups", "expected"),
    [
        (4, 1, [0, 0, 0, 0]),
        (4, 2, [0, 0, 1, 1]),
        (3, 3, [0, 1, 2]),
        (5, 2, [0, 0, 0, 1, 1]),
        (2, 3, [0, 1]),
    ],
)
def test_layers_fall_into_groups(layers, groups, expected):
    config = config_from_recipe(
        {"model_type": "albert"} | TINY | {"num_hidden_layers": layers, "num_hidden_groups": groups}
    )
    assert [config.group(layer) for layer in range(layers)] == expected


def test_the_walk_names_every_linear_of_a_group_in_execution_order():
    config = config_from_recipe({"model_type": "albert"} | TINY | {"inner_group_num": 2})
    model = initialize(build(config, "masked-lm")).eval()
    seen: list[str] = []
    for name, module in model.blocks[0].named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, __, name=name: seen.append(name))
    model(IDS)
    assert seen == list(model.calibration.linears(model.blocks[0]))
    assert len(seen) == 2 * 6


def test_a_pretrained_checkpoint_loads_without_its_sentence_order_head():
    theirs = transformers.AlbertForPreTraining(transformers.AlbertConfig(**TINY)).eval()
    config = read_config(theirs.config.to_dict() | {"architectures": ["AlbertForPreTraining"]})
    model = build(config)
    account = load_weights(model, theirs.state_dict())
    assert model.task == "masked-lm"
    assert sorted(account.skipped) == [
        "albert.pooler.bias",
        "albert.pooler.weight",
        "sop_classifier.classifier.bias",
        "sop_classifier.classifier.weight",
    ]
    with torch.no_grad():
        expected = theirs(IDS).prediction_logits
        assert torch.allclose(model.eval()(IDS).logits, expected, atol=1e-5)
