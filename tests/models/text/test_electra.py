from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.heads.test_masked_lm import TINY
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config

IDS = torch.arange(4, 12)[None]


def test_a_discriminator_loads_as_its_states():
    """What tells replaced words is named among the tensors that are left out."""
    theirs = transformers.ElectraForPreTraining(transformers.ElectraConfig(**TINY)).eval()
    config = read_config(theirs.config.to_dict() | {"architectures": ["ElectraForPreTraining"]})
    model = build(config)
    account = load_weights(model, theirs.state_dict())
    assert model.task == "embedding"
    assert sorted(account.skipped) == [
        "discriminator_predictions.dense.bias",
        "discriminator_predictions.dense.weight",
        "discriminator_predictions.dense_prediction.bias",
        "discriminator_predictions.dense_prediction.weight",
    ]
    model.set_pooling("cls", normalize=False)
    with torch.no_grad():
        expected = theirs.electra(IDS).last_hidden_state[:, 0]
        assert torch.allclose(model.eval()(IDS).logits, expected, atol=1e-5)


def test_a_discriminator_is_no_generator():
    theirs = transformers.ElectraForPreTraining(transformers.ElectraConfig(**TINY))
    model = build(read_config(theirs.config.to_dict()), "masked-lm")
    with pytest.raises(ModelError, match=r"lacks generator_predictions.*new masked-lm head"):
        load_weights(model, theirs.state_dict())


def test_another_summary_is_refused():
    with pytest.raises(ModelError, match="summary_type='mean' is not supported for electra"):
        read_config({"model_type": "electra", **TINY, "summary_type": "mean"})
