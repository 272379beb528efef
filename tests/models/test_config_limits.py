"""A config's numbers, texts and lists are bounded before anything is made of them."""

from __future__ import annotations

import copy
from contextlib import suppress

import pytest
import torch
from torch import nn

from tests.models.test_loading import TINY, checkpoint, config
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError, TooLargeError
from tfcli.models.limits import LIMIT, MAX_CONFIG_DEPTH, MAX_CONFIG_TEXT, MAX_LAYERS
from tfcli.models.loading import build
from tfcli.models.registry import read_config

LLAMA = {"model_type": "llama", **TINY["llama"]}


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"architectures": ["A" * 10_000_000]}, "architectures has a text of 10,000,000"),
        ({"x": {"y": {"B" * (MAX_CONFIG_TEXT + 1): 1}}}, "x has a key of 65,537"),
        ({"x": deep(MAX_CONFIG_DEPTH)}, "x is nested more than 32 deep"),
        ({"x": [1, {"y": 1e31}]}, r"x has the number 1e\+31"),
        ({"x": -(10**40)}, "x has a number of 41 digits"),
        ({"rope_theta": 10**400}, "rope_theta has a number of 401 digits"),
        ({"num_hidden_layers": MAX_LAYERS + 1}, "num_hidden_layers is 1,001, more than 1,000"),
        ({"id2label": {"9" * 5000: "x"}}, "id2label must count its labels from 0"),
        ({"eos_token_id": [1, True]}, "an entry of eos_token_id must be int, not True"),
        ({"id2label": {"0": []}, "label2id": None}, "id2label must have a text for each label"),
        ({"hidden_size": True}, "hidden_size must be int, not True"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 1e308}}, "1e30"),
    ],
)
def test_values_that_no_config_has_are_refused_by_name(changes, what):
    with pytest.raises(ModelError, match=what) as error:
        read_config({**LLAMA, **changes})
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("tag", [[], {}, 1, None, "x"])
def test_a_tag_that_is_none_is_a_value_like_another(tag):
    assert read_config({**LLAMA, "x": {"__float__": tag}}).extra["x"] == {"__float__": tag}


@pytest.mark.parametrize("key", ["num_hidden_groups", "inner_group_num"])
def test_blocks_of_every_kind_are_counted(key):
    content = {"model_type": "albert", **TINY["bert"], "embedding_size": 8, key: LIMIT - 1}
    with pytest.raises(ModelError, match=r"num_hidden_groups times inner_group_num is 2,147"):
        read_config(content)


def test_a_model_of_more_values_than_its_files_is_not_built(monkeypatch):
    """Modules take time to make: it stops soon after there are too many."""
    made = []
    linear = nn.Linear.__init__

    def counted(self, *arguments, **options):
        made.append(1)
        linear(self, *arguments, **options)

    monkeypatch.setattr(nn.Linear, "__init__", counted)
    with pytest.raises(TooLargeError, match="asks for more than 100,000 values"):
        build(config("llama", num_hidden_layers=1_000), at_most=100_000)
    assert len(made) < 1_000
    build(config("llama"), at_most=0)  # what is small is named better when it is filled


def test_sizes_beyond_counting_are_refused():
    size = {"hidden_size": LIMIT, "num_hidden_layers": 1}
    with pytest.raises(ModelError, match="more values than can be counted"):
        build(config_from_recipe({**LLAMA, **size}))


def test_no_hook_is_left_behind():
    from torch.nn.modules.module import _global_parameter_registration_hooks as hooks

    for most in (None, 0):
        with_layers = config("llama", num_hidden_layers=200)
        with suppress(TooLargeError):
            build(with_layers, at_most=most)
        assert not hooks


def test_a_limit_is_copied_as_a_number():
    assert type(copy.deepcopy(LIMIT)) is int
    _, tensors = checkpoint("llama")
    assert all(isinstance(one, torch.Tensor) for one in tensors.values())
