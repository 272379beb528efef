"""Pieces are whole characters, and add up to the decoded text."""

import random

import pytest

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
