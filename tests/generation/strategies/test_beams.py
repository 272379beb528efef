"""Beams of prompts of several lengths are those that transformers keeps of each alone."""

from __future__ import annotations

import pytest
import torch

from tests.generation.strategies.theirs import (
    MODELS,
    NEW,
    PROMPTS,
    our_texts,
    pair,
    their_texts,
    until_end,
)
from tfcli.errors import WorkError

ENDS = {"eos_token_id": [3, 7, 20, 31]}


@pytest.mark.parametrize("model_type", MODELS)
@pytest.mark.parametrize(
    "said",
    [
        {"num_beams": 2},
        {"num_beams": 3, "num_return_sequences": 3, **ENDS},
        {"num_beams": 4, "length_penalty": 0.0, "early_stopping": True, **ENDS},
        {"num_beams": 4, "length_penalty": 2.5, "early_stopping": "never", **ENDS},
        {"num_beams": 3, "length_penalty": -1.5, "early_stopping": "never", **ENDS},
        {"num_beams": 3, "repetition_penalty": 1.7, "no_repeat_ngram_size": 2, **ENDS},
        {"num_beams": 3, "encoder_repetition_penalty": 2.0, "min_new_tokens": 5, **ENDS},
        {"num_beams": 2, "forced_eos_token_id": 3, "eos_token_id": 3},
        {"num_beams": 2, "bad_words_ids": [[5], [6, 9]], "suppress_tokens": [8, 30], **ENDS},
    ],
    ids=str,
)
def test_beams_are_those_of_transformers(model_type, said):
    texts, scores = our_texts(model_type, said)
    wanted = [
        until_end(text, said)
        for prompt in PROMPTS
        for text in their_texts(model_type, said, prompt, do_sample=False)
    ]
    assert texts == wanted
    assert len(scores) == len(texts)


def test_beams_end_at_different_steps():
    texts, _ = our_texts("llama", {"num_beams": 3, "early_stopping": True, **ENDS})
    assert len({*map(len, texts)}) > 1


def test_a_score_is_the_mean_of_log_probabilities_to_the_power_of_the_penalty():
    _, model = pair("llama")
    texts, scores = our_texts("llama", {"num_beams": 3, "length_penalty": 0.7, **ENDS})
    for prompt, text, score in zip(PROMPTS, texts, scores, strict=True):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([prompt + text])).logits
        logits = logits[0, len(prompt) - 1 : -1]
        likely = logits.log_softmax(-1)[range(len(text)), text]
        assert score == pytest.approx(float(likely.sum()) / len(text) ** 0.7, rel=1e-5)


@pytest.mark.parametrize("model_type", MODELS)
def test_beams_are_drawn_as_transformers_draws_them(model_type):
    said = {"num_beams": 3, "do_sample": True, "temperature": 1.4, "top_k": 0, **ENDS}
    texts, _ = our_texts(model_type, said, seeds=[8, 8, 8])
    for prompt, text in zip(PROMPTS, texts, strict=True):
        torch.manual_seed(8)
        assert [text] == [until_end(each, said) for each in their_texts(model_type, said, prompt)]
    assert texts == our_texts(model_type, said, seeds=[8, 8, 8])[0]
    assert texts != our_texts(model_type, said, seeds=[9, 9, 9])[0]


def test_what_filters_leave_out_is_not_drawn():
    said = {"num_beams": 2, "do_sample": True, "temperature": 3.0, "top_k": 2}
    for text in our_texts("llama", said, seeds=[1, 2, 3])[0]:
        assert len(text) == NEW
    plain = our_texts("llama", {"num_beams": 1})[0]
    only = {"num_beams": 2, "do_sample": True, "top_k": 1}
    assert our_texts("llama", only, seeds=[1, 2, 3])[0] == plain


def test_a_text_that_stops_ends_a_beam():
    said = {"num_beams": 3}
    stopped = {5, 9, 12, 22, 33}
    texts, _ = our_texts("llama", said, ends=lambda number, ids: bool(stopped & {*ids}))
    assert texts == our_texts("llama", said | {"eos_token_id": [*stopped]})[0]


@pytest.mark.parametrize("cache", ["static", "offloaded"])
def test_beams_go_with_other_caches(cache):
    said = {"num_beams": 3, **ENDS}
    assert our_texts("llama", said, cache=cache)[0] == our_texts("llama", said)[0]


def test_time_ends_all_beams_after_a_token():
    texts, _ = our_texts("llama", {"num_beams": 3, "max_time": 1e-9})
    assert {*map(len, texts)} == {2}


def test_what_early_stopping_cannot_be_is_an_error():
    with pytest.raises(WorkError, match="early_stopping"):
        our_texts("llama", {"num_beams": 2, "early_stopping": "always"})
