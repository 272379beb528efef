"""Texts that are split into words: ids, and the word of each, as in transformers."""

from __future__ import annotations

import pytest

from tests.tokenizers.folders import make
from tests.tokenizers.texts import NASTY
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.load import load_tokenizer

WORDS = [text.split(" ") for text in NASTY if text]
PAIRS = list(reversed(WORDS))
KINDS = {
    "bert": {},
    "gpt2": {"pad_token": "<|endoftext|>"},
    "roberta": {"add_prefix_space": True},
    "xlm-roberta": {},
}
"""WordPiece, byte-level BPE with and without a space before each word, Unigram."""


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    from transformers import AutoTokenizer

    config = KINDS[request.param]
    folder = make(tmp_path_factory.mktemp(request.param), request.param, tokenizer_config=config)
    return load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["single", "pairs"])
@pytest.mark.parametrize(("truncation", "padding"), [("left", "right"), ("right", "left")])
def test_words_are_encoded_cut_and_counted_as_in_transformers(both, truncation, padding, pairs):
    ours, theirs = both
    theirs.truncation_side, theirs.padding_side = truncation, padding
    expected = theirs(
        WORDS,
        pairs,
        is_split_into_words=True,
        max_length=16,
        truncation=True,
        padding=True,
        return_token_type_ids=True,
        return_offsets_mapping=True,
    )
    batch = ours.batch(
        WORDS,
        pairs,
        is_split_into_words=True,
        max_length=16,
        truncation=truncation,
        padding=padding,
        return_offsets=True,
        return_word_ids=True,
    )
    rows = range(len(WORDS))
    assert batch.ids == expected["input_ids"]
    assert batch.attention_mask == expected["attention_mask"]
    assert batch.token_type_ids == expected["token_type_ids"]
    assert batch.offsets == expected["offset_mapping"]
    assert batch.word_ids == [expected.word_ids(row) for row in rows]
    assert batch.sequence_ids == [expected.sequence_ids(row) for row in rows]


def test_labels_of_words_become_labels_of_ids(both):
    ours, _ = both
    words, labels = ["Ada", "Lovelace", "was", "born", "in", "London"], [1, 2, 0, 0, 0, 3]
    batch = ours.batch([words], is_split_into_words=True, return_word_ids=True)
    numbers = [word for word in batch.word_ids[0] if word is not None]
    assert numbers == sorted(numbers) and set(numbers) == set(range(len(words)))
    spelt = [-100 if word is None else labels[word] for word in batch.word_ids[0]]
    assert len(spelt) == len(batch.ids[0])
    assert [label for label in dict.fromkeys(spelt) if label != -100] == [1, 2, 0, 3]


def test_the_words_of_whole_texts(both):
    ours, theirs = both
    expected = theirs(NASTY[:40])
    batch = ours.batch(NASTY[:40], return_word_ids=True)
    assert batch.word_ids == [expected.word_ids(row) for row in range(40)]
    plain = ours.batch(NASTY[:40])
    assert plain.ids == batch.ids and plain.word_ids is plain.sequence_ids is None


def test_words_and_texts_are_not_taken_for_each_other(both):
    ours, _ = both
    with pytest.raises(UsageError, match="no list of words") as error:
        ours.batch([["a", "b"], "a b"], is_split_into_words=True)
    assert error.value.where == "texts[1]"
    with pytest.raises(UsageError, match="a list of words where a text is expected") as error:
        ours.batch(["a b"], [["a", "b"]])
    assert error.value.where == "pairs[0]" and "is_split_into_words" in error.value.fix
    with pytest.raises(UsageError, match="no list of words"):
        ours.batch([[["a"], ["b"]]], is_split_into_words=True)
    with pytest.raises(WorkError, match="half a surrogate pair"):
        ours.batch([["fine", "\udfff"]], is_split_into_words=True)
