"""PaliGemma: the prefix in every cache, the projection in training, and what is refused."""

from __future__ import annotations

import pytest
import torch

from tests.models.media_cases.paligemma import ANSWER, CASES, IMAGE
from tests.models.parity import CACHES, assert_close
from tests.models.test_media_parity import batch, reference, twin
from tfcli.models.errors import ModelError
from tfcli.models.registry import read_config

pytestmark = pytest.mark.families
SETTINGS = {"model_type": "paligemma", **CASES[0].settings}


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
@pytest.mark.parametrize("kind", CACHES)
def test_every_cache_lets_the_prefix_see_itself(case, kind):
    """Also where layers have a window, which does not limit it."""
    ours, inputs = twin(case, reference(case)), batch(case)
    ids, types = inputs["input_ids"], inputs["token_type_ids"]
    with torch.no_grad():
        whole = ours(**inputs).logits
        cache = CACHES[kind](ours, ids.shape[1])
        prefix = inputs | {"input_ids": ids[:, :-ANSWER], "token_type_ids": types[:, :-ANSWER]}
        begun = ours(**prefix, cache=cache).logits
        rest = ours(input_ids=ids[:, -ANSWER:], cache=cache).logits
    assert_close(torch.cat((begun, rest), 1), whole)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_padding_on_the_left_moves_nothing(case):
    theirs = reference(case)
    ours, inputs = twin(case, theirs), batch(case)
    mask = torch.ones_like(inputs["input_ids"])
    pad = {"input_ids": 0, "token_type_ids": 0, "attention_mask": 0}
    padded = {
        name: torch.nn.functional.pad(value, (3, 0), value=pad[name]) if name in pad else value
        for name, value in (inputs | {"attention_mask": mask}).items()
    }
    with torch.no_grad():
        expected = theirs(**padded).logits[:, 3:]
        assert_close(ours(**padded).logits[:, 3:], expected)
        assert_close(ours(**inputs).logits, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"projection_dim": 24}, "projection_dim is 24, but text_config.hidden_size is 32"),
        ({"image_token_index": -1}, "image_token_index is negative"),
        ({"image_token_index": 1}, "is 1, which is text_config.eos_token_id too"),
        ({"text_config": SETTINGS["vision_config"]}, "must be TextConfig, not SiglipVisionConfig"),
    ],
)
def test_configs_that_contradict_themselves(changes, message):
    with pytest.raises(ModelError, match=message):
        read_config(SETTINGS | changes)


def test_what_the_text_part_says_of_its_prefix_is_kept():
    text = SETTINGS["text_config"] | {"use_bidirectional_attention": True}
    config = read_config(SETTINGS | {"text_config": text})
    written = config.to_dict()
    assert written["text_config"]["use_bidirectional_attention"] is True
    assert read_config(written) == config


def test_a_config_without_parts_is_that_of_the_3b_model():
    config = read_config({"model_type": "paligemma", "image_token_index": IMAGE})
    assert (config.text_config.hidden_size, config.vision_config.hidden_size) == (2048, 1152)
    assert config.vision_config.num_patches == 256


def test_types_of_fewer_tokens_than_there_are_are_refused():
    inputs = batch(CASES[0])
    inputs["token_type_ids"] = inputs["token_type_ids"][:, 1:]
    with pytest.raises(ModelError, match="groups of tokens have shape"):
        twin(CASES[0], reference(CASES[0]))(**inputs)
