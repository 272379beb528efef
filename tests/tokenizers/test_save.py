"""Any tokenizer as a tokenizer.json: transformers and this package read the same from it."""

from __future__ import annotations

import json

import pytest

from tests.tokenizers.folders import make, unigram, write
from tests.tokenizers.texts import NASTY
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.save import save_tokenizer_json

FAMILIES = ("albert", "bert", "deberta-v2", "gemma", "gpt2", "llama", "llama-3", "mbart", "pegasus",
            "qwen2", "roberta", "t5", "xlm-roberta")  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_ids_after_the_round_trip(family, tmp_path):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    made = make(tmp_path / "made", family)
    saved = write(tmp_path / "saved", {"config.json": (made / "config.json").read_text()})
    ours = load_tokenizer(made)
    save_tokenizer_json(ours, saved)
    fast = PreTrainedTokenizerFast(tokenizer_file=str(saved / "tokenizer.json"))
    theirs, again = AutoTokenizer.from_pretrained(saved), load_tokenizer(saved)
    for text in NASTY:
        ids = ours.encode(text)
        assert ids == fast(text)["input_ids"] == theirs(text)["input_ids"] == again.encode(text)
        assert ours.decode(ids) == fast.decode(ids, skip_special_tokens=True)
    assert again.fingerprint == ours.fingerprint
    assert again.special_ids == ours.special_ids
    for role, index in ours.special_ids.items():
        assert getattr(theirs, f"{role}_id") == index


def test_a_model_without_a_class(tmp_path):
    from transformers import PreTrainedTokenizerFast

    ours = load_tokenizer(write(tmp_path / "made", {"any.model": unigram()}))
    save_tokenizer_json(ours, write(tmp_path / "saved", {}))
    again = load_tokenizer(tmp_path / "saved")
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "saved" / "tokenizer.json"))
    for text in NASTY:
        assert ours.encode(text) == again.encode(text) == fast(text)["input_ids"]
    assert again.fingerprint == ours.fingerprint


def test_a_chat_template_and_other_keys_are_kept(tmp_path):
    config = {
        "chat_template": "{{ messages }}",
        "model_max_length": 99,
        "split_special_tokens": True,
    }
    made = make(tmp_path / "made", "gpt2", tokenizer_config=config)
    saved = write(tmp_path / "saved", {"tokenizer_config.json": {"model_max_length": 7, "x": 1}})
    ours = load_tokenizer(made)
    save_tokenizer_json(ours, saved)
    content = json.loads((saved / "tokenizer_config.json").read_text())
    assert (content["model_max_length"], content["x"]) == (7, 1)
    again = load_tokenizer(saved)
    assert again.chat_template == "{{ messages }}"
    assert again.encode("<|endoftext|>") == ours.encode("<|endoftext|>") != [0]


def test_every_named_template_is_kept(tmp_path):
    from transformers import PreTrainedTokenizerFast

    named = {"default": "d", "tool_use": "t", "rag": "r"}
    listed = [{"name": name, "template": text} for name, text in named.items()]
    made = make(tmp_path / "made", "gpt2", tokenizer_config={"chat_template": listed})
    ours = load_tokenizer(made)
    assert ours.chat_templates == named and ours.chat_template == "d"
    save_tokenizer_json(ours, write(tmp_path / "saved", {}))
    assert load_tokenizer(tmp_path / "saved").chat_templates == named
    assert PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved").chat_template == named
