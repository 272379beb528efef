from __future__ import annotations

import pytest
import torch

from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize, load_weights
from tfcli.models.model import Model
from tfcli.models.registry import read_config

CONFIG = {
    "model_type": "deberta-v2",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
    "relative_attention": True,
    "pos_att_type": "c2p|p2c",
    "position_biased_input": False,
}
IDS = torch.arange(5, 14)[None]


def fresh(task: str | None = None, **changes: object) -> Model:
    return initialize(build(read_config(CONFIG | changes), task)).eval()


def test_what_the_authors_checkpoints_hold_besides_is_skipped():
    model = fresh("masked-lm", legacy=False)
    stored = dict(model.state_dict())
    stored["mask_predictions.dense.weight"] = torch.zeros(32, 32)
    stored["deberta.embeddings.position_embeddings.weight"] = torch.zeros(512, 32)
    again = build(model.config, "masked-lm")
    account = load_weights(again, stored)
    assert set(account.skipped) == set(stored) - set(model.state_dict())


def test_a_head_of_the_other_kind_is_not_taken_for_ones_own():
    stored = fresh("masked-lm", legacy=False).state_dict()
    with pytest.raises(ModelError, match=r"lacks cls\.predictions"):
        load_weights(build(read_config(CONFIG), "masked-lm"), stored)


@pytest.mark.parametrize(
    ("changes", "of_table"),
    [
        ({}, ["pos_key_proj", "pos_query_proj"]),
        ({"pos_att_type": "p2c"}, ["pos_query_proj"]),
        ({"share_att_key": True}, []),
        ({"relative_attention": False}, []),
    ],
)
def test_the_walk_names_every_linear_of_a_block(changes, of_table):
    model = fresh(**changes)
    seen: list[str] = []
    for name, module in model.blocks[1].named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda *_, name=name: seen.append(name))
    with torch.no_grad():
        model(IDS)
    assert list(dict.fromkeys(seen)) == list(model.calibration.linears(model.blocks[1]))
    assert [name.split(".")[-1] for name in seen if ".pos_" in name] == of_table


def test_distances_count_and_not_places():
    """Without positions in the input, what comes before a text moves nothing but its distances."""
    model = fresh("embedding", position_buckets=4)
    shifted = torch.cat((torch.zeros(1, 3, dtype=torch.long), IDS), dim=1)
    mask = (torch.arange(12) >= 3).long()[None]
    with torch.no_grad():
        alone, behind = model(IDS), model(shifted, attention_mask=mask)
        other = model(IDS.flip(1))
    assert torch.allclose(alone.logits, behind.logits, atol=1e-6)
    assert not torch.allclose(alone.logits, other.logits, atol=1e-4)


def test_segments_outside_of_their_table_are_refused():
    model = fresh("embedding", type_vocab_size=2)
    with pytest.raises(ModelError, match="id 2 is outside"):
        model(IDS, token_type_ids=torch.full_like(IDS, 2))
