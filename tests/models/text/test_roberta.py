from __future__ import annotations

import pytest
import torch

from tests.models.heads.test_masked_lm import TINY
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

IDS = torch.arange(4, 12)[None]


def roberta(**changes):
    config = config_from_recipe({"model_type": "roberta", **TINY, **changes})
    return initialize(build(config, "masked-lm")).eval()


def test_positions_begin_after_the_padding_id():
    """Whoever moves the padding id by one moves the table by a row."""
    model, moved = roberta(), roberta(pad_token_id=2, max_position_embeddings=33)
    moved.load_state_dict(
        model.state_dict()
        | {
            "roberta.embeddings.position_embeddings.weight": torch.cat(
                (torch.zeros(1, 16), model.roberta.embeddings.position_embeddings.weight)
            )
        }
    )
    assert torch.allclose(moved(IDS).logits, model(IDS).logits, atol=1e-6)


def test_given_positions_count_from_zero():
    model = roberta()
    counted = model(IDS).logits
    assert torch.equal(model(IDS, position_ids=torch.arange(8)[None]).logits, counted)
    assert not torch.allclose(model(IDS, position_ids=torch.arange(2, 10)[None]).logits, counted)


def test_rows_up_to_the_padding_id_are_not_positions():
    with pytest.raises(ModelError, match="31 positions, but the model has 30"):
        roberta()(torch.full((1, 31), 5))


def test_the_padding_id_has_zeros_in_both_new_tables():
    tables = roberta().roberta.embeddings
    for table in (tables.word_embeddings, tables.position_embeddings):
        assert not table.weight[1].any() and table.weight[2].any()


def test_segments_need_a_row():
    with pytest.raises(ModelError, match=r"id 1 is outside .* 1 rows.*token_type_ids"):
        roberta(type_vocab_size=1)(IDS, token_type_ids=torch.ones_like(IDS))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"pad_token_id": None}, "pad_token_id is needed"),
        ({"max_position_embeddings": 2}, "max_position_embeddings is 2, but positions begin"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
    ],
)
def test_configs_that_are_refused(changes, problem):
    with pytest.raises(ModelError, match=problem):
        read_config({"model_type": "roberta", **TINY, **changes})
