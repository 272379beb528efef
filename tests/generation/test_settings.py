"""What a checkpoint says of its texts, and what it must not say."""

from __future__ import annotations

import pytest

from tfcli.errors import WorkError
from tfcli.generation.processors import NEVER
from tfcli.generation.rules import Rules
from tfcli.generation.sampling import Draw
from tfcli.generation.settings import TextSettings, read_settings, stop_ids
from tfcli.models.registry import read_config

BART = {"model_type": "bart", "vocab_size": 61, "decoder_start_token_id": 3}


def settings(generation, **config):
    return read_settings(generation, read_config(BART | config))


@pytest.mark.parametrize(
    ("generation", "config", "wanted"),
    [
        ({"eos_token_id": 7}, 5, {7}),
        ({"eos_token_id": [7, 8]}, 5, {7, 8}),
        ({"eos_token_id": None}, 5, set()),
        ({}, 5, {5}),
        ({}, [5, 6], {5, 6}),
        ({}, None, set()),
    ],
)
def test_stop_ids_come_from_the_generation_config_first(generation, config, wanted):
    assert stop_ids(generation, read_config({**BART, "eos_token_id": config})) == wanted


def test_every_key_is_read():
    generation = {
        "eos_token_id": 2,
        "decoder_start_token_id": 4,
        "stop_strings": "END",
        "repetition_penalty": 1.2,
        "encoder_repetition_penalty": 2,
        "no_repeat_ngram_size": 3,
        "encoder_no_repeat_ngram_size": 4,
        "min_length": 5,
        "min_new_tokens": 6,
        "forced_bos_token_id": 9,
        "forced_eos_token_id": 2,
        "remove_invalid_values": True,
        "exponential_decay_length_penalty": [7, 1.5],
        "suppress_tokens": [11, 12],
        "begin_suppress_tokens": [2],
        "sequence_bias": [[[5, 6], 1.5]],
        "bad_words_ids": [[12], [13, 14], [2]],
    }
    rules = Rules(
        repetition_penalty=1.2,
        encoder_repetition_penalty=2.0,
        no_repeat_ngram_size=3,
        encoder_no_repeat_ngram_size=4,
        min_length=5,
        min_new_tokens=6,
        suppress_tokens=(11, 12),
        begin_suppress_tokens=(2,),
        # An end that never came would make a text endless.
        bias=(((5, 6), 1.5), ((12,), NEVER), ((13, 14), NEVER)),
        forced_bos=9,
        forced_eos=(2,),
        decay=(7, 1.5),
        remove_invalid_values=True,
    )
    found = settings(generation)
    assert found == TextSettings(frozenset({2}), ("END",), 4, rules, said=found.said)
    assert set(found.said) == set(generation) - {"eos_token_id", "decoder_start_token_id"}


def test_without_a_generation_config_the_older_place_counts():
    found = settings({}, forced_bos_token_id=9, bad_words_ids=[[60]])
    assert (found.forced_bos, found.rules.bias) == (9, (((60,), NEVER),))
    assert settings({"eos_token_id": 2}, forced_bos_token_id=9).forced_bos is None


def test_every_rule_that_is_not_followed_is_named():
    assert settings({"token_healing": True, "top_k": 5}).ignored == ("token_healing True",)
    assert settings({"token_healing": None}).ignored == ()
    assert settings({"force_words_ids": [[5]]}).ignored == ("force_words_ids [[5]]",)


def test_tokens_are_drawn_where_do_sample_says_so():
    drawn = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
    assert settings(drawn).draw == Draw(temperature=0.6, top_k=0, top_p=0.9)
    assert settings({**drawn, "do_sample": False}).draw is None


def test_what_a_user_asks_for_stands_in_the_place_of_what_the_file_says():
    config = read_config(BART)
    said = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2}
    found = read_settings(said, config, {"repetition_penalty": 1.1}).rules
    assert (found.repetition_penalty, found.no_repeat_ngram_size) == (1.1, 2)


@pytest.mark.parametrize(
    "generation",
    [
        {"eos_token_id": "x"},
        {"eos_token_id": [True]},
        {"forced_bos_token_id": 61},
        {"forced_bos_token_id": -1},
        {"decoder_start_token_id": [1]},
        {"suppress_tokens": 5},
        {"suppress_tokens": [10**12]},
        {"bad_words_ids": [5]},
        {"bad_words_ids": [[1.5]]},
        {"bad_words_ids": [[]]},
        {"sequence_bias": {"5": 1.0}},
        {"sequence_bias": [[[5], "x"]]},
        {"forced_eos_token_id": 61},
        {"begin_suppress_tokens": [-1]},
        {"repetition_penalty": 0},
        {"repetition_penalty": "1.2"},
        {"no_repeat_ngram_size": 1.5},
        {"min_new_tokens": -1},
        {"exponential_decay_length_penalty": [1]},
        {"stop_strings": [""]},
    ],
)
def test_what_is_no_token_is_named(generation):
    with pytest.raises(WorkError) as error:
        settings(generation)
    assert next(iter(generation)) in error.value.what
