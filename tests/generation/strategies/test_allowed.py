"""A function says which tokens may come."""

from __future__ import annotations

import pytest
import torch

from tests.generation.strategies.theirs import PROMPTS, our_texts, their_texts


@pytest.mark.parametrize("model_type", ["llama", "bart"])
@pytest.mark.parametrize("beams", [1, 3])
def test_texts_are_those_of_transformers(model_type, beams):
    def allowed(number, ids):
        return [(sum(ids) + step) % 40 for step in (3, 5, 11)]

    def theirs(number, ids: torch.Tensor):
        return allowed(number, ids.tolist())

    said = {"num_beams": beams}
    wanted = [
        their_texts(model_type, said, prompt, do_sample=False, prefix_allowed_tokens_fn=theirs)[0]
        for prompt in PROMPTS
    ]
    assert our_texts(model_type, said, allowed=allowed)[0] == wanted


@pytest.mark.parametrize(
    "said", [{"num_beams": 2}, {"penalty_alpha": 0.9, "top_k": 4}, {"prompt_lookup_num_tokens": 3}]
)
def test_the_function_is_told_which_text_it_is(said):
    texts, _ = our_texts("llama", said, allowed=lambda number, ids: [number + 20])
    assert texts == [[20] * 9, [21] * 9, [22] * 9]
