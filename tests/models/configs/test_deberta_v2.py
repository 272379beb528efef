from __future__ import annotations

import pytest

from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.registry import read_config

# As the checkpoints of the authors have it.
XLARGE = {
    "model_type": "deberta-v2",
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "conv_kernel_size": 3,
    "conv_act": "gelu",
    "max_relative_positions": -1,
    "position_biased_input": False,
    "attention_head_size": 64,
}


def test_the_spelling_of_the_authors_checkpoints():
    config = read_config(XLARGE)
    assert config.pos_att_type == ["p2c", "c2p"]
    assert (config.span, config.buckets, config.farthest) == (256, 256, 512)
    assert config.norms_table and config.kernel == 3
    assert config_from_recipe(XLARGE) == config


def test_without_buckets_the_table_has_a_row_for_each_distance():
    config = read_config(XLARGE | {"position_buckets": -1, "max_relative_positions": 40})
    assert (config.span, config.buckets) == (40, 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pos_att_type", "p2p|c2p"),
        ("norm_rel_ebd", "batch_norm"),
        ("conv_kernel_size", 4),
        ("conv_groups", 5),
        ("conv_act", "gelu_nwe"),
        ("position_buckets", 1),
        ("position_buckets", 2000),
        ("attention_head_size", 32),
        ("pooler_hidden_size", 64),
        ("embedding_size", -1),
        ("type_vocab_size", -1),
        ("cls_dropout", 1.5),
        ("classifier_dropout", 0.1),
    ],
)
def test_refusals_name_the_key(key, value):
    with pytest.raises(ModelError, match=key):
        read_config(XLARGE | {key: value})


def test_the_head_without_a_decoder_needs_words_of_full_width():
    with pytest.raises(ModelError, match="embedding_size"):
        read_config(XLARGE | {"legacy": False, "embedding_size": 128})
