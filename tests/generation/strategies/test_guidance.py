"""Guidance leads each text away from another prompt as in transformers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.generation.strategies.theirs import PROMPTS, our_texts, their_texts, until_end

ENDS = {"eos_token_id": [3, 7, 20, 31]}


@pytest.mark.parametrize("scale", [0.0, 1.7, 4.0])
@pytest.mark.parametrize("negative", [(), (21, 22, 23, 24)], ids=str)
def test_texts_are_those_of_transformers(scale, negative):
    said = {"guidance_scale": scale, "repetition_penalty": 1.3, **ENDS}
    more = {"negative_prompt_ids": torch.tensor([negative])} if negative else {}
    wanted = [
        until_end(*their_texts("llama", said, prompt, do_sample=False, **more), said)
        for prompt in PROMPTS
    ]
    found, _ = our_texts(
        "llama", said, change=lambda settings: replace(settings, negative=negative)
    )
    assert found == wanted != our_texts("llama", ENDS)[0]


def test_an_encoder_reads_the_other_prompt():
    said = {"guidance_scale": 3.0}
    together, _ = our_texts("bart", said)
    assert together == [our_texts("bart", said, [prompt])[0][0] for prompt in PROMPTS]
    assert together != our_texts("bart", {})[0]
