"""Strategies that transformers 5 does not have make what transformers 4.46.3 makes; see `older`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from tests.generation.strategies.older import CASES, GROUPS, NEW, PROMPTS, cases, make
from tests.generation.strategies.theirs import until_end
from tests.models.parity import twin
from tfcli.errors import UsageError, WorkError
from tfcli.generation.settings import read_settings
from tfcli.generation.strategies.forced import Progress, checked_word
from tfcli.generation.tasks import decoding

GOLDEN = json.loads((Path(__file__).parent / "older.json").read_text())


@cache
def model_of(model_type):
    return twin(make(model_type), "seq2seq-lm" if model_type == "bart" else "causal-lm")


def made(model_type, said, **options):
    model = model_of(model_type)
    start = {"decoder_start_token_id": 2} if model_type == "bart" else {}
    settings = read_settings({"eos_token_id": None, **start, **said}, model.config)
    rows = [prompt for prompt in PROMPTS for _ in range(settings.sequences)]
    limits = [NEW] * len(rows)
    return decoding(model, rows, max_new_tokens=limits, settings=settings, **options).texts()


def without_end(text, said):
    kept = until_end(text, said)
    return kept[:-1] if kept[-1] in said.get("eos_token_id", ()) else kept


@pytest.mark.parametrize(
    ("model_type", "name"), [(each, name) for each in ("llama", "bart") for name in cases(each)]
)
def test_texts_are_those_of_the_older_transformers(model_type, name):
    said = CASES[name]
    wanted = [text for texts in GOLDEN[model_type][name] for text in texts]
    found = made(model_type, said)
    # Theirs write the first of several ends in the place of each.
    assert [without_end(text, said) for text in found] == [
        without_end(text, said) for text in wanted
    ]


def test_a_word_is_begun_anew_where_another_token_comes_between():
    word = ((5, 6, 7),)
    assert Progress([word], [5, 6]).next_tokens == [7]
    assert Progress([word], [5, 6, 9]).next_tokens == [5]
    assert Progress([word], [5, 6, 9, 5, 6, 7]).complete
    assert Progress([word, ((8,), (9, 4))], [9, 4]).steps == 3 + 0
    assert Progress([word, ((8,), (9, 4))], [5]).steps == 1


def test_a_way_that_begins_another_one_is_refused():
    with pytest.raises(WorkError, match="force_words"):
        checked_word([(5,), (5, 6)])


def test_texts_that_stop_may_leave_fewer_beams():
    def always(number, ids):
        return True

    assert [len(text) for text in made("llama", GROUPS, ends=always)] == [1, 1, 1]
    found = made("llama", CASES["a phrase"], ends=always)
    assert all(text[:2] == [25, 26] for text in found)


def test_words_that_do_not_fit_are_an_error():
    said = {"num_beams": 2, "force_words_ids": [list(range(4, 20))]}
    with pytest.raises(WorkError, match="has all the words"):
        made("llama", said)


def test_words_that_the_rules_exclude_are_an_error():
    said = {"num_beams": 3, "force_words_ids": [[25]], "suppress_tokens": [25]}
    with pytest.raises(WorkError, match="has all the words"):
        made("llama", said)


@pytest.mark.parametrize(
    ("model_type", "layers"), [("llama", [9]), ("bart", "low")], ids=["llama", "bart"]
)
def test_layers_that_there_are_not_are_refused(model_type, layers):
    with pytest.raises(UsageError, match="dola_layers"):
        made(model_type, {"dola_layers": layers})
