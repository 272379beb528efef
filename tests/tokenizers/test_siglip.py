"""The tokenizers of SigLIP and SigLIP 2, beside transformers'."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer, GemmaTokenizer, SiglipTokenizer

from tests.tokenizers.folders import trained_spm, write
from tests.tokenizers.test_spm import comparable
from tests.tokenizers.texts import NASTY
from tfcli.tokenizers.load import load_tokenizer


def lower_model():
    """Of small letters, as released ones are."""
    return trained_spm(
        model_type="unigram",
        pad_id=-1,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        control_symbols=("<pad>",),
        normalization_rule_name="nmt_nfkc_cf",
    )


@pytest.mark.parametrize("options", [{}, {"do_lower_case": False}])
def test_siglip_reads_text_in_small_letters_without_punctuation(options, tmp_path):
    config = {"tokenizer_class": "SiglipTokenizer", **options}
    write(tmp_path, {"spiece.model": lower_model(), "tokenizer_config.json": config})
    ours, theirs = load_tokenizer(tmp_path), SiglipTokenizer.from_pretrained(tmp_path)
    texts = [text for text in NASTY if comparable(text)]
    assert len(texts) > 70
    assert [text for text in texts if ours.encode(text) != theirs.encode(text)] == []
    assert ours.pad_id == ours.eos_id == theirs.pad_token_id


@pytest.mark.parametrize("tokenizer_class", ["GemmaTokenizer", "Siglip2Tokenizer"])
def test_siglip_2_has_no_capitals(tokenizer_class, tmp_path):
    """Also where the file names Gemma's class, as released ones do."""
    vocab = {token: at for at, token in enumerate(
        ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{n:02X}>" for n in range(256)),
         "▁", "a", "b", "A", "B", "ab", "▁a", "▁ab"])}  # fmt: skip
    made = GemmaTokenizer(vocab=vocab, merges=[("a", "b"), ("▁", "a"), ("▁a", "b")])
    made.save_pretrained(tmp_path)
    config = (tmp_path / "tokenizer_config.json").read_text()
    write(tmp_path, {"tokenizer_config.json": config.replace("GemmaTokenizer", tokenizer_class)})
    write(tmp_path, {"config.json": {"model_type": "siglip2"}})
    ours, theirs = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert type(theirs).__name__ == "Siglip2Tokenizer"
    for text in ("AB aB Ab", "ab <bos> AÄ İ Σ", *NASTY[:60]):
        assert ours.encode(text) == theirs.encode(text), text
    assert ours.encode("AB aB") == ours.encode("ab ab")
