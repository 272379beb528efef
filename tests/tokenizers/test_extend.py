"""Tokens that are added to a tokenizer: found whole, kept in its folder, as in transformers."""

from __future__ import annotations

import json

import pytest
import torch

from tests.models.tiny import tiny_model
from tests.tokenizers.folders import make, write
from tests.tokenizers.texts import NASTY
from tfcli.errors import UsageError, WorkError
from tfcli.models.vocabulary import resize_vocabulary
from tfcli.tokenizers.extend import extend_tokenizer
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.save import save_tokenizer_json

TEXTS = ("a Zzyzxb ZZYZX New Tok <sep>c", " <sep> zzyzx<pad2>", "new tok<sep><sep>", *NASTY)


@pytest.mark.parametrize("family", ["bert", "gpt2", "roberta", "llama", "xlm-roberta", "t5"])
def test_ids_are_those_of_transformers(family, tmp_path):
    from transformers import AutoTokenizer

    folder = make(tmp_path / "folder", family)
    first, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    ours = extend_tokenizer(
        first, ["Zzyzx", "New Tok"], special_tokens=["<sep>"], roles={"pad_token": "<pad2>"}
    )
    theirs.add_tokens(["Zzyzx", "New Tok"])
    theirs.add_tokens(["<sep>", "<pad2>"], special_tokens=True)
    save_tokenizer_json(ours, folder)
    again, read = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs(text)["input_ids"]
        assert ids == again.encode(text) == read(text)["input_ids"]
        assert ours.decode(ids) == again.decode(ids)
    size = first.vocab_size
    assert ours.vocab_size == again.vocab_size == len(theirs) == size + 4
    assert ours.pad_id == again.pad_id == read.pad_token_id == size + 3
    assert first.vocab_size == size and "Zzyzx" not in first.backend.get_vocab()
    assert "<sep>" not in ours.decode(ours.encode("a<sep>b"))
    assert "zzyzx" in ours.decode(ours.encode("a Zzyzx b")).lower()


@pytest.mark.parametrize("declared", ["added_tokens_decoder", "special_tokens_map"])
def test_what_the_folder_said_before_counts_no_more(declared, tmp_path):
    folder = make(tmp_path, "gpt2")
    if declared == "special_tokens_map":
        write(folder, {"special_tokens_map.json": {"pad_token": "<|endoftext|>"}})
    else:
        token = {"content": "<|endoftext|>", "special": True, "normalized": False}
        write(folder, {"tokenizer_config.json": {"added_tokens_decoder": {"0": token}}})
    ours = extend_tokenizer(load_tokenizer(folder), ["Zzyzx"], roles={"pad_token": "<pad>"})
    save_tokenizer_json(ours, folder)
    again = load_tokenizer(folder)
    assert again.pad_id == ours.pad_id == 451 and again.fingerprint == ours.fingerprint
    content = json.loads((folder / "tokenizer_config.json").read_text())
    assert content["added_tokens_decoder"]["450"]["content"] == "Zzyzx"


def test_a_token_that_is_there_keeps_its_id(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "gpt2"))
    known = tokenizer.backend.id_to_token(300)
    again = extend_tokenizer(tokenizer, [known, known], special_tokens=["<|endoftext|>"])
    assert again.vocab_size == tokenizer.vocab_size
    assert again.backend.token_to_id(known) == 300 and again.special_ids == tokenizer.special_ids


def test_a_model_has_rows_for_new_tokens(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "gpt2"))
    model = tiny_model("gpt2", vocab_size=tokenizer.vocab_size, bos_token_id=0, eos_token_id=0)
    more = extend_tokenizer(tokenizer, special_tokens=["<a>", "<b>"])
    resize_vocabulary(model, more.vocab_size)
    ids = torch.tensor([more.encode("x <a> y <b>")])
    assert int(ids.max()) == tokenizer.vocab_size + 1
    assert model(ids).logits.shape[-1] == more.vocab_size


def test_what_is_no_token_is_refused(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path / "a", "gpt2"))
    with pytest.raises(UsageError, match="' ' cannot be a token"):
        extend_tokenizer(tokenizer, [" "])
    with pytest.raises(UsageError, match="no role 'pad'"):
        extend_tokenizer(tokenizer, roles={"pad": "<pad>"})
    with pytest.raises(WorkError, match="SentencePiece"):
        extend_tokenizer(load_tokenizer(make(tmp_path / "b", "marian")), ["x"])
