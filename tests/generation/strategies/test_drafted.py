"""Drafts change no text: greedy ones are the plain ones, and draws have the same probabilities."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tests.generation.strategies.theirs import (
    MODELS,
    NEW,
    PROMPTS,
    generation_config,
    our_texts,
    pair,
)
from tests.models.tiny import tiny_model
from tfcli.errors import UsageError
from tfcli.generation.settings import read_settings
from tfcli.generation.strategies.drafted import accept
from tfcli.generation.strategies.drafters import Lookup
from tfcli.generation.tasks import decoding

ENDS = {"eos_token_id": [3, 7, 20, 31]}
RULES = [
    {},
    ENDS,
    {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, **ENDS},
    {"min_new_tokens": 4, "forced_eos_token_id": 3, "eos_token_id": 3},
]
LOOKUP = {"prompt_lookup_num_tokens": 3}
UNSURE = {"assistant_confidence_threshold": 0.0, "num_assistant_tokens": 4}


def other(model_type):
    """A model that often says the same as the first one: its weights with some noise."""
    _, model = pair(model_type, seed=0)
    _, noisy = pair(model_type, seed=1)
    with torch.no_grad():
        for own, first in zip(noisy.parameters(), model.parameters(), strict=True):
            own.copy_(first + 0.1 * first.std() * torch.randn_like(first))
    return noisy


@pytest.mark.parametrize("model_type", MODELS)
@pytest.mark.parametrize("said", RULES, ids=str)
def test_greedy_texts_are_the_plain_ones(model_type, said):
    wanted = our_texts(model_type, said)[0]
    assert our_texts(model_type, said | LOOKUP)[0] == wanted
    assert our_texts(model_type, said | UNSURE, assistant=other(model_type))[0] == wanted


@pytest.mark.parametrize("cache", ["static", "offloaded"])
def test_drafts_go_with_other_caches(cache):
    wanted = our_texts("llama", ENDS)[0]
    assert our_texts("llama", ENDS | UNSURE, assistant=other("llama"), cache=cache)[0] == wanted


def test_rows_keep_different_numbers_of_drafted_tokens():
    settings = read_settings(generation_config("llama", UNSURE), pair("llama")[1].config)
    steps = decoding(
        pair("llama")[1],
        PROMPTS,
        max_new_tokens=[NEW, 4, NEW],
        settings=settings,
        assistant=other("llama"),
    )
    counts, calls = [], []
    reader = steps.reader
    steps.reader = lambda ids, last=1: calls.append(last) or reader(ids, last)
    steps.reader.select, steps.reader.crop = reader.select, reader.crop
    for text in steps.texts():
        counts.append(len(text))
    assert counts == [NEW, 4, NEW]
    assert 0 < steps.kept < steps.drafted
    assert len(calls) < NEW


def test_a_model_that_drafts_for_itself_is_always_right():
    model = pair("llama")[1]
    settings = read_settings(generation_config("llama", UNSURE), model.config)
    steps = decoding(model, PROMPTS[:1], max_new_tokens=[NEW], settings=settings, assistant=model)
    assert steps.texts() == our_texts("llama", {}, PROMPTS[:1])[0]
    assert steps.kept == steps.drafted > 0


def test_an_unsure_assistant_ends_its_draft():
    model = pair("llama")[1]
    said = {"assistant_confidence_threshold": 1.0}
    settings = read_settings(generation_config("llama", said), model.config)
    steps = decoding(model, PROMPTS[:1], max_new_tokens=[NEW], settings=settings, assistant=model)
    assert len(steps.texts()[0]) == NEW
    assert steps.drafted == NEW // 2  # one a round


def test_what_is_accepted_has_the_models_probabilities():
    generator = torch.Generator().manual_seed(0)
    likely, drafted = torch.tensor([0.5, 0.2, 0.3, 0.0]), torch.tensor([0.1, 0.6, 0.2, 0.1])
    found = Counter()
    for _ in range(4000):
        proposed = int(torch.multinomial(drafted, 1, generator=generator))
        found[accept(likely, proposed, drafted, generator)[0]] += 1
        found[accept(likely, 1, None, generator)[0]] += 1
    shares = torch.tensor([found[token] / 8000 for token in range(4)])
    assert torch.allclose(shares, likely, atol=0.03)


def test_drawn_texts_have_the_probabilities_of_plain_draws():
    """The second token of many texts, drawn with drafts and without."""
    said = {"do_sample": True, "temperature": 0.7, "top_k": 6}
    count, new = 500, 2
    model, assistant = pair("llama")[1], other("llama")

    def shares(more, seed, assistant=None):
        settings = read_settings(generation_config("llama", said | more), model.config)
        texts = decoding(
            model,
            PROMPTS[2:] * count,
            max_new_tokens=[new] * count,
            settings=settings,
            seeds=range(seed, seed + count),
            assistant=assistant,
        ).texts()
        found = Counter(text[-1] for text in texts)
        return torch.tensor([found[token] / count for token in range(40)])

    wanted = shares({}, 0)
    assert (shares(UNSURE, 10**6, assistant) - wanted).abs().max() < 0.1
    assert (shares(LOOKUP, 2 * 10**6) - wanted).abs().max() < 0.1


def test_a_lookup_finds_the_newest_place():
    ids = torch.tensor([[-1, 5, 6, 7, 5, 6, 8, 9, 5, 6]])
    (draft,) = Lookup((), longest=3)(ids, [0], [[]], [2])
    assert draft.tokens == [8, 9]
    (draft,) = Lookup([[1, 2, 3, 4]], longest=2)(torch.tensor([[9]]), [0], [[2]], [5])
    assert draft.tokens == [3, 4, 9, 2]


@pytest.mark.parametrize("model_type", ["mamba", "mistral"])
def test_a_model_that_cannot_take_back_is_refused(model_type):
    model = tiny_model(model_type)
    settings = read_settings(LOOKUP, model.config)
    with pytest.raises(UsageError, match=f"{model_type} cannot take back"):
        decoding(model, [[5, 6]], max_new_tokens=[20], settings=settings)
