"""Reading a SentencePiece .model: what it says, and what a hostile one costs."""

from __future__ import annotations

import math
import random
import tracemalloc

import pytest
from sentencepiece import sentencepiece_model_pb2

from tests.tokenizers.folders import gemma_bpe, llama_bpe, t5_unigram, unigram, write
from tests.tokenizers.texts import NASTY
from tfcli.errors import WorkError
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.spm_model import read_spm


def changed(change, model=None) -> bytes:
    """A model after `change(message)`."""
    message = sentencepiece_model_pb2.ModelProto()
    message.ParseFromString(model or unigram())
    change(message)
    return message.SerializeToString()


@pytest.mark.parametrize("train", [unigram, t5_unigram, llama_bpe, gemma_bpe])
def test_it_says_what_the_protobuf_library_reads(train, tmp_path):
    message = sentencepiece_model_pb2.ModelProto()
    message.ParseFromString(train())
    (tmp_path / "m.model").write_bytes(train())
    model = read_spm(tmp_path / "m.model")
    assert model.pieces == [(piece.piece, piece.score) for piece in message.pieces]
    assert model.types == [piece.type for piece in message.pieces]
    trainer, normalizer = message.trainer_spec, message.normalizer_spec
    assert (model.kind, model.byte_fallback) == (trainer.model_type, trainer.byte_fallback)
    assert model.charsmap == normalizer.precompiled_charsmap
    assert model.add_dummy_prefix == normalizer.add_dummy_prefix
    assert model.remove_extra_whitespaces == normalizer.remove_extra_whitespaces
    for role in ("unk", "bos", "eos", "pad"):
        index = getattr(trainer, f"{role}_id")
        expected = message.pieces[index].piece if index >= 0 else None
        assert model.names.get(f"{role}_token") == expected


def broken(name: str) -> bytes:
    def same_piece(message):
        message.pieces[9].piece = message.pieces[7].piece

    def empty(message):
        message.pieces[8].piece = ""

    def score(message):
        message.pieces[8].score = math.nan

    def long(message):
        message.pieces[8].piece = "a" * 5000

    def unknown(message):
        message.pieces[0].type = 1

    def unused(message):
        message.pieces[8].type = 5

    def words(message):
        message.trainer_spec.model_type = 3

    def suffix(message):
        message.trainer_spec.treat_whitespace_as_suffix = True

    def escape(message):
        message.normalizer_spec.escape_whitespaces = False

    def charsmap(message):
        message.normalizer_spec.precompiled_charsmap = (
            b"\x00\x04\x00\x00" + b"\xff\x7f\x00\x7f" * 256
        )

    return changed(locals()[name])


@pytest.mark.parametrize(
    ("data", "what", "where"),
    [
        (b"", "it has no pieces", "m.model"),
        (b"\n\n\n", "claims 10 bytes, 1 are left", "m.model"),
        (random.Random(0).randbytes(5000), "SentencePiece model|damaged", "m.model"),
        (b"\x0a\x80\x80\x80\x80\x04aaaa", "claims 1,073,741,824 bytes, 4 are left", "m.model"),
        (b"\x0a\x06\x0a\x80\x80\x80\x80\x04", "claims 1,073,741,824 bytes, 0 are left", "piece 0"),
        (b"\x0a" + b"\xff" * 20, "not a SentencePiece model, or is damaged", "m.model"),
        (b"\x0a\x04\x0a\x02\xff\xfe", "not UTF-8", "piece 0"),
        ("same_piece", "is piece 7 again", "piece 9"),
        ("empty", "is empty", "piece 8"),
        ("score", "has the score nan", "piece 8"),
        ("long", "longer than 4,096 bytes", "piece 8"),
        ("unknown", "it has no pieces", "m.model"),
        ("unused", "piece 8 is marked as unused, which is not covered", "m.model"),
        ("words", "it is a word model, which is not covered", "m.model"),
        ("suffix", "spaces at the ends of words", "m.model"),
        ("escape", "leaves spaces as they are", "m.model"),
        ("charsmap", "character map .* is damaged", "m.model"),
    ],
)
def test_a_broken_model_is_named(data, what, where, tmp_path):
    write(tmp_path, {"m.model": broken(data) if isinstance(data, str) else data})
    with pytest.raises(WorkError, match=what) as error:
        read_spm(tmp_path / "m.model")
    assert where in error.value.where


def test_a_model_of_another_kind_than_its_class_is_named(tmp_path):
    files = {"spiece.model": llama_bpe(), "config.json": {"model_type": "t5"}}
    with pytest.raises(WorkError, match="it is a BPE model, but its class has Unigram"):
        load_tokenizer(write(tmp_path, files))


def test_a_huge_or_damaged_file_costs_little(tmp_path):
    """What is claimed is not allocated; a file that is too long is not read."""
    sparse = tmp_path / "huge.model"
    with sparse.open("wb") as file:
        file.truncate(1 << 33)
    claims = tmp_path / "claims.model"
    claims.write_bytes(b"\x0a\xff\xff\xff\xff\x0f" + b"a" * 1000)
    tracemalloc.start()
    for file, what in ((sparse, "has 8,589,934,592 bytes"), (claims, "claims 4,294,967,295 bytes")):
        with pytest.raises(WorkError, match=what):
            read_spm(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_damage_anywhere_ends_in_an_error_or_in_a_tokenizer(tmp_path):
    """A few changed bytes: never another exception, never a dead process."""
    draw = random.Random(3)
    source = unigram()
    errors = 0
    for _ in range(150):
        data = bytearray(source)
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        folder = write(tmp_path, {"spiece.model": bytes(data), "config.json": {"model_type": "t5"}})
        try:
            tokenizer = load_tokenizer(folder)
            for text in draw.sample(NASTY, 5):
                tokenizer.decode(tokenizer.encode(text))
        except WorkError:
            errors += 1
    assert 30 < errors < 150
