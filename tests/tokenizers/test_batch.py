"""Batches are those of transformers: cut, filled up, with masks, types and offsets."""

from __future__ import annotations

import pytest

from tests.tokenizers.folders import make
from tests.tokenizers.texts import NASTY
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.load import load_tokenizer

TEXTS = [text or "word" for text in NASTY]
PAIRS = list(reversed(TEXTS))


@pytest.fixture(scope="module", params=["bert", "roberta", "llama"])
def both(request, tmp_path_factory):
    from transformers import AutoTokenizer

    config = {"add_bos_token": True, "pad_token": "<unk>"} if request.param == "llama" else {}
    folder = make(tmp_path_factory.mktemp(request.param), request.param, tokenizer_config=config)
    return load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["single", "pairs"])
@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("truncation", ["left", "right"])
@pytest.mark.parametrize(("max_length", "multiple"), [(5, None), (12, None), (32, 8)])
def test_cut_and_filled_up_as_in_transformers(
    both, max_length, multiple, truncation, padding, pairs
):
    ours, theirs = both
    theirs.truncation_side, theirs.padding_side = truncation, padding
    expected = theirs(
        TEXTS,
        pairs,
        max_length=max_length,
        truncation=True,
        padding=True,
        pad_to_multiple_of=multiple,
        return_token_type_ids=True,
        return_offsets_mapping=True,
    )
    batch = ours.batch(
        TEXTS,
        pairs,
        max_length=max_length,
        truncation=truncation,
        padding=padding,
        pad_to_multiple_of=multiple,
        return_offsets=True,
    )
    assert batch.ids == expected["input_ids"]
    assert batch.attention_mask == expected["attention_mask"]
    assert batch.token_type_ids == expected["token_type_ids"]
    assert batch.offsets == expected["offset_mapping"]
    whole = ours.batch(TEXTS, pairs)
    assert batch.overflow == [len(ids) > max_length for ids in whole.ids]
    assert not any(whole.overflow) and whole.offsets is None


def test_a_batch_of_many_is_many_batches_of_one(both):
    ours, _ = both
    together = ours.batch(TEXTS)
    assert together.ids == [ours.batch([text]).ids[0] for text in TEXTS]
    assert together.ids == [ours.encode(text) for text in TEXTS]
    filled = ours.batch(TEXTS, padding="left")
    for ids, mask, plain in zip(filled.ids, filled.attention_mask, together.ids, strict=True):
        assert [token for token, on in zip(ids, mask, strict=True) if on] == plain
        assert mask == [0] * (len(ids) - len(plain)) + [1] * len(plain)
    assert ours.batch([]).ids == ours.batch([], padding="right").ids == []


def test_offsets_are_places_in_the_text(both):
    ours, _ = both
    text = "the  naïve 日本 cat"
    (offsets,) = ours.batch([text], return_offsets=True, add_special_tokens=False).offsets
    covered = {place for begin, end in offsets for place in range(begin, end)}
    assert {place for place, char in enumerate(text) if char != " "} <= covered
    assert offsets == sorted(offsets) and max(covered) < len(text)


def test_special_tokens_of_a_user_are_text(both):
    ours, _ = both
    token = ours.backend.id_to_token(ours.special_ids["unk_token"])
    (ids,) = ours.batch([f"a{token}b"], add_special_tokens=False).ids
    (literal,) = ours.batch([f"a{token}b"], add_special_tokens=False, allow_special=False).ids
    assert ours.special_ids["unk_token"] in ids
    assert len(literal) > len(ids)
    assert ours.batch([f"a{token}b"], add_special_tokens=False).ids == [ids]  # nothing has changed


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"max_length": 5}, "max_length needs truncation"),
        ({"truncation": "left"}, "truncation needs max_length"),
        ({"pad_to_multiple_of": 8}, "pad_to_multiple_of needs padding"),
        ({"pad_to_multiple_of": 0, "padding": "left"}, "must be at least 1"),
        (
            {"max_length": 9, "truncation": "left", "padding": "left", "pad_to_multiple_of": 8},
            "max_length 9 is no multiple of 8",
        ),
        ({"max_length": 1, "truncation": "middle"}, "truncation is 'middle'"),
        ({"padding": "both"}, "padding is 'both'"),
        ({"max_length": 0, "truncation": "left"}, "leaves no room"),
        ({"pairs": ["one"]}, "2 first texts, but 1 second"),
        ({"pairs": "ab"}, "one text was given"),
    ],
)
def test_arguments_that_contradict_each_other(both, arguments, what):
    with pytest.raises(UsageError, match=what):
        both[0].batch(["a", "b"], **arguments)
    with pytest.raises(UsageError, match="one text was given"):
        both[0].batch("a text")


def test_no_room_beside_the_special_tokens(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "bert"))
    with pytest.raises(UsageError, match="max_length 1 leaves no room beside 2 special tokens"):
        tokenizer.batch(["a"], max_length=1, truncation="right")
    assert tokenizer.batch(["a"], max_length=2, truncation="right").overflow == [True]


def test_filling_up_needs_a_pad_token(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "gpt2"))
    with pytest.raises(WorkError, match="no pad token") as error:
        tokenizer.batch(["a", "a b c"], padding="right")
    assert "pad_token" in error.value.fix
    equal = tokenizer.batch(["a", "a"], padding="right")  # nothing to fill up
    assert equal.ids == [tokenizer.encode("a")] * 2


def test_text_that_is_no_unicode(both):
    for call in (
        lambda: both[0].encode("a\ud800b"),
        lambda: both[0].encode_batch(["fine", "\udfff"]),
        lambda: both[0].batch(["fine"], ["\udfff"]),
    ):
        with pytest.raises(WorkError, match="half a surrogate pair"):
            call()
    with pytest.raises(TypeError):
        both[0].encode(5)
