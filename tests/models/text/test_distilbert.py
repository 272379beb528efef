from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.heads.test_masked_lm import TINY
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config


@pytest.mark.parametrize("sines", [True, False])
def test_new_positions_may_begin_as_sines_and_cosines(sines):
    keys = TINY | {"sinusoidal_pos_embds": sines}
    own = initialize(build(config_from_recipe({"model_type": "distilbert"} | keys), "embedding"))
    theirs = transformers.DistilBertModel(transformers.DistilBertConfig(**keys))
    expected = theirs.embeddings.position_embeddings.weight
    actual = own.distilbert.embeddings.position_embeddings.weight
    assert torch.allclose(actual, expected, atol=1e-6) == sines


def test_keys_are_read_in_both_spellings_and_written_in_its_own():
    own = {"dim": 32, "hidden_dim": 24, "n_layers": 3, "n_heads": 4, "activation": "relu"}
    config = config_from_recipe({"model_type": "distilbert", **own, "attention_dropout": 0.2})
    assert config.hidden_size == 32 and config.intermediate_size == 24
    assert config.hidden_act == "relu" and config.attention_probs_dropout_prob == 0.2
    assert own.items() <= config.to_dict().items()
    assert "hidden_size" not in config.to_dict()


def test_keys_of_bert_beside_its_own_mean_nothing():
    both = {"model_type": "distilbert", "hidden_dim": 24, "intermediate_size": 99}
    config = read_config(both)
    assert config.intermediate_size == 24
    assert both.items() <= config.to_dict().items()
