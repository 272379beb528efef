from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.cases.encoders import CASES
from tests.models.parity import assert_close, twin
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config
from tfcli.models.saving import export_config, export_tensors

SETTINGS = next(case for case in CASES if case.name == "funnel").settings


def made(kind):
    torch.manual_seed(0)
    theirs = kind(transformers.FunnelConfig(**SETTINGS)).eval()
    theirs.config.architectures = [kind.__name__]
    return theirs


def test_the_base_model_has_fewer_states():
    theirs = made(transformers.FunnelBaseModel)
    ours = build(read_config(theirs.config.to_dict()))
    load_weights(ours, theirs.state_dict())
    ours.set_pooling("mean", normalize=False)
    ids = torch.randint(4, 61, (2, 15))
    with torch.no_grad():
        output = ours.eval()(ids, output_hidden_states=True)
        expected = theirs(ids).last_hidden_state
    assert_close(output.hidden_states[-1], expected)
    assert_close(output.logits, expected.mean(1))
    assert export_config(ours)["architectures"] == ["FunnelBaseModel"]
    assert {name for name, _ in export_tensors(ours)} == set(theirs.state_dict())


def test_a_whole_model_becomes_a_classifier():
    theirs = made(transformers.FunnelModel)
    ours = build(read_config(theirs.config.to_dict()), "sequence-classification")
    account = load_weights(ours, theirs.state_dict(), new_head=True)
    assert all(name.startswith("decoder.") for name in account.skipped)
    assert all(name.startswith("classifier.") for name in account.initialized)
    again = {name.removeprefix("funnel."): tensor for name, tensor in export_tensors(ours)}
    for name, tensor in theirs.state_dict().items():
        assert name.startswith("decoder.") or torch.equal(again[name], tensor)


@pytest.mark.parametrize("length", [5, 8, 9, 31])
def test_lengths_that_do_not_halve(length):
    theirs = made(transformers.FunnelModel)
    ours = twin(theirs, "embedding")
    ids, mask = torch.randint(4, 61, (2, length)), torch.ones(2, length, dtype=torch.long)
    mask[0, -1] = 0
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask).last_hidden_state
        actual = ours(ids, mask, output_hidden_states=True).hidden_states[-1]
    assert_close(actual, expected)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"block_sizes": []}, "block_sizes must be numbers"),
        ({"block_sizes": [1, 0]}, "block_sizes must be numbers"),
        ({"block_repeats": [1]}, "a number from 1 on for each"),
        ({"pooling_type": "min"}, "built are mean, max"),
        ({"attention_type": "plain"}, "built are relative_shift"),
    ],
)
def test_configs_that_are_refused(changes, problem):
    with pytest.raises(ModelError, match=problem):
        config_from_recipe({"model_type": "funnel", **SETTINGS, **changes})
