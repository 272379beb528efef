from __future__ import annotations

import pytest

from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.registry import read_config

SUMMARY = {
    "summary_type": "first",
    "summary_use_proj": True,
    "summary_activation": "gelu",
    "summary_last_dropout": 0.1,
}


def test_half_of_the_width_attends_with_fewer_heads():
    config = read_config({"model_type": "convbert", "head_ratio": 4})
    assert (config.heads, config.head_dim) == (3, 128)
    assert read_config({"model_type": "convbert", "head_ratio": 99}).heads == 1


def test_summary_keys_are_written_only_where_they_say_something():
    plain = {"model_type": "convbert"}
    assert not any(key.startswith("summary") for key in read_config(plain).to_dict())
    written = read_config(plain | SUMMARY).to_dict()
    assert {key: written[key] for key in SUMMARY} == SUMMARY
    assert config_from_recipe(plain | SUMMARY) == read_config(written)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("conv_kernel_size", 4),
        ("head_ratio", 0),
        ("num_groups", 5),
        ("summary_type", "cls_index"),
        ("summary_first_dropout", 0.1),
        ("is_decoder", True),
    ],
)
def test_refusals_name_the_key(key, value):
    with pytest.raises(ModelError, match=key):
        read_config({"model_type": "convbert", key: value})
