"""wav2vec2's tokenizer beside transformers', on vocabularies of a few letters."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2CTCTokenizer as Oracle

from tfcli.errors import UsageError, WorkError
from tfcli.processors.audio.ctc_tokenizer import CtcText, CtcTokenizer
from tfcli.tokenizers.load import load_tokenizer

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"EHLORDW'", "TH"]
VOCAB = {token: index for index, token in enumerate(LETTERS)}
TEXTS = [
    "HELLO WORLD", "", " ", "  HELLO  WORLD ", "THE TH ETH", "<pad>HE <s> LO </s>", "h?LLO", "é\tH",
    "HE|LO", "THTH <unk>", "hello wOrld", "T H", "<pad", "HE ' RE", "ß",
]  # fmt: skip


def pair(folder, vocab=None, **config):
    """Our tokenizer and theirs, read from the same folder."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab or VOCAB), encoding="utf-8")
    config = {"tokenizer_class": "Wav2Vec2CTCTokenizer", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    # transformers' from_pretrained loses another word delimiter, so theirs is made directly.
    theirs = {key: value for key, value in config.items() if key != "tokenizer_class"}
    return CtcTokenizer.from_pretrained(folder), Oracle(folder / "vocab.json", **theirs)


CONFIGS = {
    "plain": {},
    "lower": {"do_lower_case": True},
    "other words": {"word_delimiter_token": "H", "replace_word_delimiter_char": "_"},
    "clean": {"clean_up_tokenization_spaces": True},
    "other blank": {"pad_token": "D"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_texts_have_the_ids_of_transformers(tmp_path, name: str) -> None:
    own, theirs = pair(tmp_path, **CONFIGS[name])
    for text in TEXTS:
        assert own.encode(text) == theirs(text).input_ids, text
    assert own.pad_id == theirs.pad_token_id


def test_roles_that_the_vocabulary_lacks_get_ids_of_their_own(tmp_path) -> None:
    vocab = {"A": 0, "B": 1, "|": 2}
    own, theirs = pair(tmp_path, vocab, bos_token="<begin>")
    assert own.encode("A B<begin>B") == theirs("A B<begin>B").input_ids
    assert own.encode("C") == [5]  # transformers gives None
    for ids in ([3, 4, 5, 6, 7, 0], [0, 0, 6, 0]):
        assert own.decode(ids) == theirs.decode(ids)
    assert own.vocab_size == len(theirs)


def predictions(seed: int, count: int = 40) -> list[int]:
    draw = random.Random(seed)
    return [draw.choice([0, 0, 4, 5, 6, 7, 7, 8, 12, 13, 3, 2]) for _ in range(count)]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"group_tokens": False},
        {"spaces_between_special_tokens": True},
        {"skip_special_tokens": True, "group_tokens": False},
    ],
)
def test_predictions_are_the_text_of_transformers(tmp_path, name: str, options) -> None:
    own, theirs = pair(tmp_path, **CONFIGS[name])
    for seed in range(20):
        ids = predictions(seed)
        assert own.decode(ids, **options) == theirs.decode(ids, **options)
    assert own.decode([], **options) == theirs.decode([], **options) == ""


def test_repeats_become_one_and_blanks_keep_them_apart(tmp_path) -> None:
    own, _ = pair(tmp_path)
    ids = [6, 6, 5, 7, 7, 0, 7, 8, 0, 0, 4, 4, 11, 8]
    assert own.decode(ids) == "HELLO WO"
    assert own.decode(ids, skip_special_tokens=True) == "HELLO WO"
    assert own.decode(ids, group_tokens=False) == "HHELLLO  WO"


def test_transformers_loses_letters_when_it_skips_special_tokens(tmp_path) -> None:
    """Why ours differs there: the blank that keeps two letters apart is among them."""
    _, theirs = pair(tmp_path)
    assert theirs.decode([7, 0, 7], skip_special_tokens=True) == "L"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("which", [(True, True), (True, False), (False, True)])
def test_offsets_are_those_of_transformers(tmp_path, name: str, which) -> None:
    own, theirs = pair(tmp_path, **CONFIGS[name])
    options = dict(zip(("output_char_offsets", "output_word_offsets"), which, strict=True))
    for seed in range(20):
        found = own.decode(predictions(seed), **options)
        wanted = theirs.decode(predictions(seed), **options)
        assert isinstance(found, CtcText)
        assert found.text == wanted.text
        assert found.char_offsets == wanted.char_offsets
        assert found.word_offsets == wanted.word_offsets


def test_batches_are_decoded_one_by_one(tmp_path) -> None:
    own, theirs = pair(tmp_path)
    rows = [predictions(seed) for seed in range(3)]
    wanted = theirs.batch_decode(rows)
    for given in (rows, torch.tensor(rows), np.array(rows)):
        assert own.batch_decode(given) == wanted
    assert own.decode([5, -100, 99_999]) == theirs.decode([5, -100, 99_999])


NESTED = {
    "eng": VOCAB,
    "deu": {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "SCH": 5, "U": 6, "L": 7, "E": 8},
}


def test_a_vocabulary_of_several_languages(tmp_path) -> None:
    own, theirs = pair(tmp_path, NESTED, target_lang="eng")
    assert own.encode("HELLO TH") == theirs("HELLO TH").input_ids
    other = own.for_language("deu")
    theirs.set_target_lang("deu")
    for text in ("SCHULE", "E SCH U", "TH HELL"):
        assert other.encode(text) == theirs(text).input_ids
    assert other.decode([5, 6, 7, 7, 8]) == theirs.decode([5, 6, 7, 7, 8]) == "SCHULE"
    assert CtcTokenizer.from_pretrained(tmp_path, target_lang="deu").vocab == other.vocab
    with pytest.raises(UsageError, match="no language 'fra'"):
        own.for_language("fra")
    with pytest.raises(UsageError, match="one language only"):
        pair(tmp_path / "one")[0].for_language("deu")


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_written_is_read_alike_by_both(tmp_path, name: str) -> None:
    own, theirs = pair(tmp_path, **CONFIGS[name])
    own.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    for folder in ("ours", "theirs"):
        again = CtcTokenizer.from_pretrained(tmp_path / folder)
        theirs_again = Oracle.from_pretrained(tmp_path / folder)
        for text in TEXTS:
            assert again.encode(text) == own.encode(text) == theirs(text).input_ids
            if name != "other words":  # as above
                assert theirs_again(text).input_ids == own.encode(text)
        assert again.decode(predictions(1)) == theirs.decode(predictions(1))


def test_languages_are_written(tmp_path) -> None:
    pair(tmp_path, NESTED, target_lang="deu")[0].save_pretrained(tmp_path / "ours")
    assert json.loads((tmp_path / "ours/vocab.json").read_text()) == NESTED
    assert Oracle.from_pretrained(tmp_path / "ours").target_lang == "deu"


@pytest.mark.parametrize(
    ("vocab", "config", "message"),
    [
        ({"A": 0, "B": 0}, {}, "has the id 0 of 'A'"),
        ({"A": "0"}, {}, "the id 0 is not in"),
        ({"A": -1}, {}, "the id -1 is not in"),
        ([1], {}, "expected a JSON object of tokens"),
        ({"eng": {"A": 0}}, {}, "target_lang says none of its 1 languages"),
        ({"eng": {"A": 0}}, {"target_lang": "deu"}, "'deu' is none of its 1 languages"),
        ({"A": 0}, {"target_lang": "deu"}, "has no languages"),
        ({"eng": {"A": 0}, "B": 1}, {"target_lang": "eng"}, "side by side"),
        (VOCAB, {"word_delimiter_token": 3}, "word_delimiter_token must be a text"),
        (VOCAB, {"do_lower_case": "yes"}, "do_lower_case must be true or false"),
        (VOCAB, {"pad_token": None}, "pad_token must not be null"),
        (VOCAB, {"added_tokens_decoder": {"3": {"content": "H"}}}, "but has 6"),
    ],
)
def test_damaged_files_are_named(tmp_path, vocab, config, message: str) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(WorkError, match=message):
        CtcTokenizer.from_pretrained(tmp_path)


def test_who_asks_for_a_tokenizer_of_texts_is_told_of_this_one(tmp_path) -> None:
    pair(tmp_path)
    with pytest.raises(WorkError, match="has letters and their blank") as error:
        load_tokenizer(tmp_path)
    assert "CtcTokenizer.from_pretrained" in (error.value.fix or "")
