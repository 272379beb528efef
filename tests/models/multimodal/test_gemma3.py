"""Gemma 3 with its tower: whose tokens see each other, caches, and what is refused."""

from __future__ import annotations

import pytest
import torch

from tests.models.media_cases.gemma3 import CASES, IMAGE, TOKENS
from tests.models.parity import CACHES, assert_close
from tests.models.test_media_parity import batch, reference, twin
from tfcli.models.errors import ModelError
from tfcli.models.multimodal.composite import runs_of
from tfcli.models.registry import read_config

pytestmark = pytest.mark.families
SETTINGS = {"model_type": "gemma3", **CASES[0].settings}


@pytest.fixture(scope="module")
def theirs():
    return reference(CASES[0])


def test_runs_are_counted_in_each_row():
    marked = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 1, 1]]).bool()
    assert runs_of(marked).tolist() == [[-1, 0, 0, -1, 1], [0, -1, -1, 1, 1]]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("attention", ["sdpa", "flex"])
def test_padding(theirs, side, attention):
    inputs = batch(CASES[0])
    mask = torch.ones_like(inputs["input_ids"])
    mask[1, :2] = 0
    if side == "right":
        inputs = inputs | {name: inputs[name].flip(1) for name in ("input_ids", "token_type_ids")}
        mask = mask.flip(1)
    inputs["attention_mask"] = mask
    with torch.no_grad():
        expected = theirs(**inputs).logits
        found = twin(CASES[0], theirs, attention=attention)(**inputs).logits
    assert_close(found[mask.bool()], expected[mask.bool()])


@pytest.mark.parametrize("kind", CACHES)
def test_every_cache_lets_features_see_each_other(theirs, kind):
    ours, inputs = twin(CASES[0], theirs), batch(CASES[0])
    length = inputs["input_ids"].shape[1]
    with torch.no_grad():
        whole = ours(**inputs).logits
        cache = CACHES[kind](ours, length)
        prompt = inputs | {name: inputs[name][:, :-2] for name in ("input_ids", "token_type_ids")}
        begun = ours(**prompt, cache=cache).logits
        rest = ours(input_ids=inputs["input_ids"][:, -2:], cache=cache).logits
    assert_close(torch.cat((begun, rest), 1), whole)


def test_an_image_that_begins_in_a_later_pass_sees_itself(theirs):
    """As in a conversation, where images come with a later question."""
    ours, inputs = twin(CASES[0], theirs), batch(CASES[0], rows=1)
    ids, types = inputs["input_ids"], inputs["token_type_ids"]
    with torch.no_grad():
        whole = ours(**inputs).logits
        for kind in CACHES:
            cache = CACHES[kind](ours, ids.shape[1])
            parts = []
            for at, image in ((slice(0, 8), slice(0, 1)), (slice(8, None), slice(1, 2))):
                parts.append(
                    ours(
                        input_ids=ids[:, at],
                        token_type_ids=types[:, at],
                        pixel_values=inputs["pixel_values"][image],
                        cache=cache,
                    ).logits
                )
            assert_close(torch.cat(parts, 1), whole)


def test_types_of_another_length_are_refused(theirs):
    ours, inputs = twin(CASES[0], theirs), batch(CASES[0])
    inputs["token_type_ids"] = inputs["token_type_ids"][:, 1:]
    with pytest.raises(ModelError, match=r"have shape \(2, 19\), expected \(2, 20\)"):
        ours(**inputs)


def test_a_missing_image_is_named(theirs):
    ours, inputs = twin(CASES[0], theirs), batch(CASES[0])
    inputs["pixel_values"] = inputs["pixel_values"][:-1]
    with pytest.raises(ModelError, match=f"has {3 * TOKENS} image tokens, but .* {2 * TOKENS}"):
        ours(**inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mm_tokens_per_image": 5}, "is 5, but the tower gives 4 x 4 patches"),
        ({"mm_tokens_per_image": 9}, "is 9, but the tower gives 4 x 4 patches"),
        (
            {"vision_config": SETTINGS["vision_config"] | {"patch_size": 9}},
            r"vision_config.image_size \(32\) is not a multiple of vision_config.patch_size \(9\)",
        ),
        ({"boi_token_index": IMAGE}, f"boi_token_index is {IMAGE}, which is image_token_index too"),
        ({"image_token_index": 2}, "image_token_index is 2, which is text_config.bos_token_id too"),
    ],
)
def test_configs_that_contradict_themselves(changes, message):
    with pytest.raises(ModelError, match=message):
        read_config(SETTINGS | changes)
