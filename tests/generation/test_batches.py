"""A batch of prompts: each text is the one that its prompt has alone."""

from __future__ import annotations

import pytest
import torch

from tests.generation.making import answered, continued
from tests.models.tiny import tiny_model
from tfcli.generation.loop import Decoding
from tfcli.generation.readers import TargetReader, TextReader
from tfcli.generation.sampling import Draw, row_seed, sampler
from tfcli.generation.settings import read_settings
from tfcli.generation.tasks import decoding

PROMPTS = [[5, 6, 7, 8, 9, 10], [11], [12, 13, 14]]
NEW = 10


@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt2", "bloom", "mamba", "qwen2_moe"])
def test_prompts_of_several_lengths_are_continued_as_alone(model_type):
    model = tiny_model(model_type)
    found = Decoding(TextReader(model, PROMPTS), max_new_tokens=NEW).texts()
    assert found == [continued(model, prompt, max_new_tokens=NEW) for prompt in PROMPTS]


@pytest.mark.parametrize("model_type", ["t5", "bart", "marian"])
def test_sources_of_several_lengths_are_answered_as_alone(model_type):
    model = tiny_model(model_type)
    found = Decoding(TargetReader.of_sources(model, PROMPTS), max_new_tokens=NEW).texts()
    assert found == [answered(model, prompt, max_new_tokens=NEW) for prompt in PROMPTS]


@pytest.mark.parametrize("cache", ["dynamic", "static", "quantized8"])
def test_a_row_that_has_ended_leaves_the_others_as_they_are(cache):
    model = tiny_model("llama")
    alone = [continued(model, prompt, max_new_tokens=NEW) for prompt in PROMPTS]
    stop = {alone[1][2]}
    ended = [text[: text.index(*stop) + 1] if stop & {*text} else text for text in alone]
    assert len({*map(len, ended)}) > 1
    steps = decoding(
        model,
        PROMPTS,
        max_new_tokens=[NEW, NEW, 4],
        settings=read_settings({"eos_token_id": list(stop)}, model.config),
        cache=cache,
    )
    assert steps.texts() == [*ended[:2], ended[2][:4]]


def test_a_row_can_be_ended_from_outside():
    steps = Decoding(TextReader(tiny_model("llama"), PROMPTS), max_new_tokens=4)
    rows = []
    for tokens in steps:
        rows.append([token is not None for token in tokens])
        steps.end(1)
    assert rows == [[True, True, True], *[[True, False, True]] * 3]


def test_draws_do_not_depend_on_the_batch():
    model, draw = tiny_model("llama"), Draw(temperature=3.0)
    alone = [
        continued(model, prompt, max_new_tokens=NEW, pick=sampler(draw, [4])) for prompt in PROMPTS
    ]
    together = Decoding(
        TextReader(model, PROMPTS), max_new_tokens=NEW, pick=sampler(draw, [4] * 3)
    ).texts()
    assert together == alone


def test_several_texts_of_one_prompt_have_draws_of_their_own():
    assert row_seed(7, 0) == 7
    assert len({row_seed(2**64 - 1, number) for number in range(100)}) == 100
    assert max(row_seed(2**64 - 1, number) for number in range(100)) < 2**64


@pytest.mark.parametrize(
    "said",
    [
        {"repetition_penalty": 1.8},
        {"no_repeat_ngram_size": 2},
        {"encoder_no_repeat_ngram_size": 2},
        {"encoder_repetition_penalty": 3.0},
        {"min_new_tokens": 6, "eos_token_id": 7},
        {"forced_eos_token_id": 3},
        {"begin_suppress_tokens": [9]},
        {"exponential_decay_length_penalty": [2, 1.9], "eos_token_id": 7},
        {"presence_penalty": 1.5, "frequency_penalty": 0.5},
    ],
    ids=str,
)
def test_rules_see_each_row_by_itself(said):
    model = tiny_model("llama")
    settings = read_settings(said, model.config)

    def texts(prompts):
        return decoding(
            model, prompts, max_new_tokens=[NEW] * len(prompts), settings=settings
        ).texts()

    assert texts(PROMPTS) == [text for prompt in PROMPTS for text in texts([prompt])]


def test_time_ends_all_texts_after_a_token():
    steps = Decoding(TextReader(tiny_model("llama"), PROMPTS), max_new_tokens=50, max_time=1e-9)
    assert [len(text) for text in steps.texts()] == [1, 1, 1]
    assert steps.out_of_time


@pytest.mark.parametrize("model_type", ["llama", "t5"])
def test_a_prompt_of_several_texts_is_read_once(model_type, monkeypatch):
    model, read = tiny_model(model_type), []
    forward = type(model).forward
    monkeypatch.setattr(
        type(model),
        "forward",
        lambda self, *given, **more: read.append(more) or forward(self, *given, **more),
    )
    encode = getattr(model, "encode", None)
    if encode is not None:
        monkeypatch.setattr(
            model, "encode", lambda ids, mask: read.append(ids) or encode(ids, mask)
        )
    settings = read_settings({"do_sample": True, "num_return_sequences": 3}, model.config)

    def texts(prompts, seeds):
        limits = [NEW] * len(prompts)
        return decoding(
            model, prompts, max_new_tokens=limits, settings=settings, seeds=seeds
        ).texts()

    found = texts([each for each in PROMPTS[:2] for _ in range(3)], [1, 2, 3, 1, 2, 3])
    first = read[0] if encode is not None else read[0]["input_ids"]
    assert len(first) == 2
    settings = read_settings({"do_sample": True}, model.config)
    assert found == [texts([each], [seed])[0] for each in PROMPTS[:2] for seed in (1, 2, 3)]


def test_what_is_watched_are_the_models_logits_and_what_was_picked():
    model, seen = tiny_model("llama"), []
    steps = Decoding(
        TextReader(model, PROMPTS[:1]),
        max_new_tokens=3,
        watch=lambda logits, tokens: seen.append((logits.argmax(-1), tokens)),
    )
    (text,) = steps.texts()
    assert [int(tokens) for _, tokens in seen] == text
    assert all(torch.equal(likely, tokens) for likely, tokens in seen)
