"""Marian and M2M-100: sentencepiece cuts, vocab.json numbers, languages stand around."""

from __future__ import annotations

import pytest

from tests.tokenizers.folders import files_of, make, unigram, write
from tests.tokenizers.texts import NASTY
from tfcli.errors import WorkError
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.save import save_tokenizer_json


@pytest.mark.parametrize("family", ["marian", "m2m_100", "mbart"])
def test_translations_are_those_of_transformers(family, tmp_path):
    from transformers import AutoTokenizer

    config = {} if family == "marian" else {"tgt_lang": "de" if family == "m2m_100" else "de_DE"}
    folder = make(tmp_path, family, tokenizer_config=config)
    ours, theirs = load_tokenizer(folder, target=True), AutoTokenizer.from_pretrained(folder)
    for text in NASTY:
        assert ours.encode(text) == theirs(text_target=text)["input_ids"]
    source = load_tokenizer(folder)
    assert any(ours.encode(text) != source.encode(text) for text in NASTY)


def test_a_language_that_is_asked_for(tmp_path):
    from transformers import AutoTokenizer

    for family, code, name in (
        ("m2m_100", "fr", "M2M100Tokenizer"),
        ("mbart", "fr_XX", "MBartTokenizer"),
        ("mbart", "fr_XX", "MBart50Tokenizer"),
    ):
        folder = make(tmp_path / name, family, tokenizer_config={"tokenizer_class": name})
        ours = load_tokenizer(folder, language=code)
        theirs = AutoTokenizer.from_pretrained(folder, src_lang=code)
        assert [ours.encode(text) for text in NASTY] == [
            theirs(text)["input_ids"] for text in NASTY
        ]
        with pytest.raises(WorkError, match="no token for the language 'xx'"):
            load_tokenizer(folder, language="xx")
    with pytest.raises(WorkError, match="does not mark languages"):
        load_tokenizer(make(tmp_path / "bert", "bert"), language="fr")


def test_a_language_beside_a_tokenizer_json(tmp_path):
    """The template of the file is for one language."""
    from transformers import AutoTokenizer

    made = make(tmp_path / "made", "mbart", tokenizer_config={"src_lang": "fr_XX"})
    AutoTokenizer.from_pretrained(made).save_pretrained(tmp_path / "saved")
    french = load_tokenizer(tmp_path / "saved")
    german = load_tokenizer(tmp_path / "saved", language="de_DE")
    assert french.encode("word") == load_tokenizer(made).encode("word") != german.encode("word")
    assert french.encode("word")[:-1] == german.encode("word")[:-1]


def test_offsets_are_places_in_the_text(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "m2m_100"))
    text = "  the café  日本語 ﬁ cat "
    batch = tokenizer.batch([text], return_offsets=True, add_special_tokens=False)
    for index, (begin, end) in zip(batch.ids[0], batch.offsets[0], strict=True):
        piece = tokenizer.backend.id_to_token(index).replace("▁", " ").strip()
        if piece and piece != "<unk>" and piece.isascii():
            assert text[begin:end].strip() in (piece, "ﬁ")
    covered = {place for begin, end in batch.offsets[0] for place in range(begin, end)}
    assert {place for place, char in enumerate(text) if char != " "} <= covered


def test_special_tokens_of_a_user_are_text(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "marian"))
    assert tokenizer.eos_id in tokenizer.encode("a</s>b", add_special_tokens=False)
    literal = tokenizer.encode("a</s>b", add_special_tokens=False, allow_special=False)
    assert tokenizer.eos_id not in literal


def test_what_decides_the_ids_is_in_the_fingerprint(tmp_path):
    source = load_tokenizer(make(tmp_path, "marian"))
    target = load_tokenizer(tmp_path, target=True)
    again = load_tokenizer(tmp_path)
    assert source.fingerprint == again.fingerprint != target.fingerprint


def test_it_cannot_be_written_as_a_tokenizer_json(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "marian"))
    with pytest.raises(WorkError, match=r"a tokenizer\.json cannot say that"):
        save_tokenizer_json(tokenizer, tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
    assert "eos_id" in repr(tokenizer)


def test_broken_folders_are_named(tmp_path):
    config = {"config.json": {"model_type": "m2m_100"}}
    lone = write(tmp_path / "lone", {"sentencepiece.bpe.model": unigram(), **config})
    with pytest.raises(WorkError, match=r"there is no vocab\.json"):
        load_tokenizer(lone)
    no_unk = write(tmp_path / "unk", {**files_of("m2m_100"), "vocab.json": {"a": 0}, **config})
    with pytest.raises(WorkError, match="there is no <unk>"):
        load_tokenizer(no_unk)
    holes = {"<unk>": 0, "</s>": 1, "a": 3}
    full = write(tmp_path / "full", {**files_of("m2m_100"), "vocab.json": holes, **config})
    with pytest.raises(WorkError, match="leave no room for the languages"):
        load_tokenizer(full)
    separate = make(tmp_path / "two", "marian", tokenizer_config={"separate_vocabs": True})
    with pytest.raises(WorkError, match="separate_vocabs is not covered"):
        load_tokenizer(separate)
