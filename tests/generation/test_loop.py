"""Decoding with the cache gives what transformers gives, and what no cache gives."""

import pytest
import torch

from tests.generation.making import continued
from tfcli.checkpoints.folder import load_model

PROMPT = [0, 12, 77, 130, 5]


@pytest.fixture(scope="module")
def model(tiny_llama):
    return load_model(tiny_llama)


def test_greedy_is_that_of_transformers(model, tiny_llama):
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(tiny_llama)
    wanted = theirs.generate(
        torch.tensor([PROMPT]), max_new_tokens=60, do_sample=False, eos_token_id=None
    )
    assert continued(model, PROMPT, max_new_tokens=60) == wanted[0, len(PROMPT) :].tolist()


@torch.no_grad()
def test_the_cache_changes_nothing(model):
    ids = list(PROMPT)
    for _ in range(40):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert continued(model, PROMPT, max_new_tokens=40) == ids[len(PROMPT) :]


def test_it_stops_after_a_stop_token(model):
    whole = continued(model, PROMPT, max_new_tokens=30)
    stop = whole[7]
    found = continued(model, PROMPT, max_new_tokens=30, stop={stop})
    assert found == whole[: whole.index(stop) + 1]


def test_prompt_and_new_tokens_may_fill_all_positions(model):
    limit = model.config.max_position_embeddings
    prompt = [n % 320 for n in range(limit - 3)]
    assert len(continued(model, prompt, max_new_tokens=3)) == 3
