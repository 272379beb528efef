"""A .model without a class of its own gives the ids of the sentencepiece library."""

from __future__ import annotations

import json
import unicodedata

import pytest
import sentencepiece

from tests.tokenizers.folders import gemma_bpe, llama_bpe, trained_spm, unigram, write
from tests.tokenizers.test_spm_model import changed
from tests.tokenizers.texts import NASTY
from tfcli.tokenizers.load import load_tokenizer

IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
MODELS = {
    "unigram": unigram,
    "unigram, bytes": lambda: trained_spm(model_type="unigram", byte_fallback=True, vocab_size=600),
    "unigram, no space first": lambda: trained_spm(model_type="unigram", add_dummy_prefix=False),
    "unigram, case folded": lambda: trained_spm(
        model_type="unigram", normalization_rule_name="nfkc_cf", remove_extra_whitespaces=False
    ),
    "unigram, line breaks": lambda: trained_spm(
        model_type="unigram", normalization_rule_name="nfkc"
    ),
    "bpe": lambda: trained_spm(model_type="bpe"),
    "bpe, bytes": llama_bpe,
    "bpe, no space first": lambda: trained_spm(
        model_type="bpe", add_dummy_prefix=False, **IDENTITY
    ),
}
APART = ("<s>", "</s>", "<unk>", "<0x41>")


def comparable(text: str) -> bool:
    """Text in which the two libraries see the same.

    sentencepiece takes control and byte pieces that stand in a text for text. The tokenizers
    library gives a character and its accents to the character map as one, so it misses some
    compositions of decomposed text.
    """
    apart = unicodedata.normalize("NFC", text) != text or "\uff9e" in text
    apart |= any(unicodedata.combining(char) for char in text)
    return not apart and not any(piece in text for piece in APART)


@pytest.mark.parametrize("name", MODELS)
def test_ids_are_those_of_sentencepiece(name, tmp_path):
    model = MODELS[name]()
    ours = load_tokenizer(write(tmp_path, {"tokenizer.model": model}))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = [text for text in NASTY if comparable(text)]
    assert len(texts) > 70
    assert [text for text in texts if ours.encode(text) != theirs.encode(text)] == []
    assert ours.vocab_size == theirs.get_piece_size()
    for text in texts:
        ids = theirs.encode(text)
        if theirs.unk_id() not in ids:
            assert ours.decode(ids) == theirs.decode(ids)


def test_roles_are_those_of_the_model(tmp_path):
    ours = load_tokenizer(write(tmp_path, {"any.model": gemma_bpe()}))
    assert (ours.pad_id, ours.eos_id, ours.bos_id) == (0, 1, 2)
    assert ours.encode("<start_of_turn>")[-1] == 5  # a user-defined piece is found whole
    assert ours.prefix == ours.suffix == ()
    config = {"add_bos_token": True, "add_eos_token": True}
    write(tmp_path, {"tokenizer_config.json": config})
    ours = load_tokenizer(tmp_path)
    assert (ours.prefix, ours.suffix) == ((2,), (1,))


@pytest.mark.parametrize("tokenizer_class", [None, "LlamaTokenizer"])
def test_scores_decide_what_is_joined_first(tokenizer_class, tmp_path):
    """Llama 2 has runs of spaces among its first pieces, but with the lowest scores."""

    def runs_of_spaces(message):
        for place, length in ((262, 2), (263, 4), (264, 3)):
            piece = message.pieces[place]
            piece.piece, piece.score, piece.type = "▁" * length, -1e9, 1

    model = changed(runs_of_spaces, llama_bpe())
    files = {
        "tokenizer.model": model,
        "tokenizer_config.json": {"tokenizer_class": tokenizer_class},
    }
    ours = load_tokenizer(write(tmp_path, files))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    for text in (
        "two  spaces",
        "x:\n    return  y",
        *(f"a{' ' * count}cat" for count in range(40)),
    ):
        assert ours.encode(text) == theirs.encode(text)


def test_no_text_becomes_a_control_piece_by_joining(tmp_path):
    def halves(message):
        for place, text in enumerate(("<", ">", "s>", "▁<"), start=300):
            message.pieces[place].piece = text

    model = changed(halves, llama_bpe())
    ours = load_tokenizer(write(tmp_path, {"tokenizer.model": model}))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    for text in ("<s>", "a<s>"):
        assert ours.encode(text, allow_special=False) == theirs.encode(text)
        assert ours.bos_id in ours.encode(text)
    merges = json.loads(ours.backend.to_str())["model"]["merges"]
    assert ["s", ">"] in merges and ["<", "s>"] not in merges
