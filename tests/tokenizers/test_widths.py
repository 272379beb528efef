"""The bytes of tokens: those of a character in several tokens, and none lost between."""

import random

import pytest

from tests.tokenizers.folders import make
from tests.tokenizers.texts import NASTY
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.widths import token_bytes


@pytest.mark.parametrize("text", ["é", "漢字", "😀 hi", "abc", "", "naïve café 👩‍👩‍👧"])
def test_byte_level_tokens_have_the_bytes_that_they_are_spelt_with(folder, text):
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode(text, add_special_tokens=False)
    spelt = [len(tokenizer.backend.id_to_token(index)) for index in ids]
    assert token_bytes(text, tokenizer) == spelt
    assert sum(spelt) == len(text.encode())


def test_pieces_that_fall_back_to_bytes_have_one_each(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "llama"))
    assert token_bytes("𝄞", tokenizer) == [0, 1, 1, 1, 1]  # the first is a space that is not there


@pytest.mark.parametrize("family", ["llama", "gemma", "llama-3", "t5", "bert", "m2m_100"])
def test_the_bytes_of_all_tokens_are_those_of_the_text(family, tmp_path):
    tokenizer, draw = load_tokenizer(make(tmp_path, family)), random.Random(0)
    texts = [*NASTY, *("".join(draw.sample("aé漢😀 \n\u200d", 5)) for _ in range(50))]
    for text in texts:
        if tokenizer.encode(text, add_special_tokens=False):
            found = token_bytes(text, tokenizer)
            assert sum(found) == len(text.encode())
            assert min(found) >= 0
