"""Pieces are whole characters, and add up to the decoded text."""

import random

import pytest

from tests.tokenizers.folders import make
from tests.tokenizers.texts import NASTY
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.stream import StreamDecoder


def pieces(tokenizer, ids):
    stream = StreamDecoder(tokenizer)
    return [stream.push(token) for token in ids] + [stream.finish()]


@pytest.mark.parametrize("text", ["plain words", "日本語のテキスト", "a𝄞b👩‍👩‍👧c", "  spaces"])
def test_no_piece_holds_half_a_character(folder, text):
    tokenizer = load_tokenizer(folder)
    found = pieces(tokenizer, tokenizer.encode(text, add_special_tokens=False))
    assert "".join(found) == text
    assert not any("\ufffd" in piece for piece in found)


def test_a_character_appears_with_its_last_byte(folder):
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode("日", add_special_tokens=False)
    assert len(ids) == 3
    assert pieces(tokenizer, ids) == ["", "", "日", ""]
    assert pieces(tokenizer, ids[:2]) == ["", "", "\ufffd"]


def test_pieces_of_any_ids_add_up(folder):
    tokenizer, draw = load_tokenizer(folder), random.Random(0)
    for _ in range(200):
        ids = [draw.randrange(tokenizer.vocab_size) for _ in range(draw.randrange(1, 30))]
        assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


def test_words_keep_their_spaces_with_a_decoder_that_drops_the_first(folder):
    """Tokenizers of the SentencePiece kind drop the space that begins a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from tfcli.tokenizers.load import Tokenizer as Ours

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(["one two three"], trainers.BpeTrainer(vocab_size=60))
    ids = backend.encode("one two three").ids
    assert "".join(pieces(Ours(backend), ids)) == "one two three"


@pytest.mark.parametrize("family", ["llama", "gemma", "llama-3", "t5", "bert", "m2m_100"])
def test_every_kind_of_tokenizer_gives_whole_characters(family, tmp_path):
    """Byte-fallback pieces and ranks of bytes cut characters; the others cut words."""
    tokenizer = load_tokenizer(make(tmp_path, family))
    halves = 0
    for text in NASTY:
        if "\ufffd" in text:
            continue
        ids = tokenizer.encode(text, add_special_tokens=False, allow_special=False)
        found = pieces(tokenizer, ids)
        assert "".join(found) == tokenizer.decode(ids)
        if "\ufffd" not in tokenizer.decode(ids):
            assert not any("\ufffd" in piece for piece in found)
        halves += found.count("")
    if family in ("llama", "gemma", "llama-3"):
        assert halves > len(NASTY)  # held back until the character was whole


def test_a_character_of_byte_pieces_appears_with_its_last_one(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "llama"))
    ids = tokenizer.encode("𝄞", add_special_tokens=False)
    names = [tokenizer.backend.id_to_token(index) for index in ids]
    assert names == ["▁", "<0xF0>", "<0x9D>", "<0x84>", "<0x9E>"]
    assert pieces(tokenizer, ids) == ["", "", "", "", "𝄞", ""]
    assert pieces(tokenizer, ids[:3]) == ["", "", "", "\ufffd\ufffd"]


def test_half_a_character_of_byte_pieces_spoils_none_before_it(tmp_path):
    """Decoded together, a run of bytes is all U+FFFD where its end is missing."""
    tokenizer = load_tokenizer(make(tmp_path, "llama"))
    ids = tokenizer.encode("𝄞𝄞", add_special_tokens=False)[:-2]
    assert tokenizer.decode(ids) == "\ufffd" * 6
    assert "".join(pieces(tokenizer, ids)) == "𝄞\ufffd\ufffd"
    more = tokenizer.encode("one", add_special_tokens=False)
    assert "".join(pieces(tokenizer, [*ids, *more])) == "𝄞\ufffd\ufffd one"
