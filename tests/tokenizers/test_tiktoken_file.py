"""Rank files give the ids of the tiktoken library and of transformers."""

from __future__ import annotations

import base64

import tiktoken
from tiktoken.load import load_tiktoken_bpe

from tests.tokenizers.folders import LLAMA3_WORDS, make, rank_file, write
from tests.tokenizers.texts import NASTY
from tfcli.tokenizers.load import load_tokenizer

SPECIAL = {"<|begin_of_text|>": 450, "<|eot_id|>": 451}
CONFIG = {
    "bos_token": "<|begin_of_text|>",
    "eos_token": "<|eot_id|>",
    "added_tokens_decoder": {
        str(index): {"content": token, "special": True} for token, index in SPECIAL.items()
    },
}


def encoding(folder, words=LLAMA3_WORDS):
    ranks = load_tiktoken_bpe(str(folder / "tokenizer.model"))
    return tiktoken.Encoding("tiny", pat_str=words, mergeable_ranks=ranks, special_tokens=SPECIAL)


def test_ids_are_those_of_tiktoken(tmp_path):
    folder = make(tmp_path, "llama-3", tokenizer_config=CONFIG)
    ours, theirs = load_tokenizer(folder), encoding(folder)
    for text in NASTY:
        assert ours.encode(text) == theirs.encode(text, allowed_special="all")
        assert ours.encode(text, allow_special=False) == theirs.encode_ordinary(text)
        assert ours.decode(ours.encode(text, allow_special=False)) == text
    assert ours.encode("<|begin_of_text|>hi") == [450, *theirs.encode("hi")]
    assert (ours.bos_id, ours.eos_id, ours.vocab_size) == (450, 451, 452)


def test_a_word_that_is_a_token_is_found_though_no_merge_leads_to_it(tmp_path):
    word = base64.b64encode(b" xyzzyplugh").decode()
    folder = write(tmp_path, {"tokenizer.model": f"{rank_file()}{word} 450\n"})
    ours = load_tokenizer(folder)
    assert ours.encode("a xyzzyplugh") == [*ours.encode("a"), 450]
    assert ours.encode(" xyzzyplughs")[0] != 450


def test_qwen_cuts_each_digit(tmp_path):
    folder = write(
        tmp_path,
        {"tokenizer.model": rank_file(), "config.json": {"tokenizer_class": "QWenTokenizer"}},
    )
    ours = load_tokenizer(folder)
    theirs = encoding(folder, LLAMA3_WORDS.replace("{1,3}", ""))
    for text in NASTY:
        assert ours.encode(text) == theirs.encode_ordinary(text)
