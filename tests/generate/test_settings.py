"""What a checkpoint says of its texts, and what it must not say."""

from __future__ import annotations

import pytest

from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.generate.settings import TextSettings, read_settings, stop_ids
from tfcli.models.registry import read_config

BART = {"model_type": "bart", "vocab_size": 61, "decoder_start_token_id": 3}


def settings(generation, **config):
    return read_settings(generation, read_config(BART | config), Console(quiet=True))


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
        "forced_bos_token_id": 9,
        "suppress_tokens": [11, 12],
        "bad_words_ids": [[12], [13], [2]],
    }
    # An end that never came would make a text endless.
    assert settings(generation) == TextSettings(frozenset({2}), (11, 12, 13), 4, 9)


def test_without_a_generation_config_the_older_place_counts():
    assert settings({}, forced_bos_token_id=9, bad_words_ids=[[60]]) == TextSettings(
        frozenset({2}), (60,), None, 9
    )
    assert settings({"eos_token_id": 2}, forced_bos_token_id=9).forced_bos is None


def test_several_tokens_at_once_are_not_kept_out_and_that_is_said(capsys):
    found = read_settings({"bad_words_ids": [[5, 6]]}, read_config(BART), Console())
    assert found.never == ()
    assert "bad_words_ids of several tokens" in capsys.readouterr().err


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
    ],
)
def test_what_is_no_token_is_named(generation):
    with pytest.raises(WorkError) as error:
        settings(generation)
    assert next(iter(generation)) in error.value.what
