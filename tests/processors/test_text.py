"""The habits of a tokenizer's folder."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

from tests.processors.joint import backend
from tfcli.errors import UsageError, WorkError
from tfcli.processors.text import TextSide


def folder(path, **config):
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    (path / "tokenizer.json").write_text(backend(False))
    (path / "tokenizer_config.json").write_text(json.dumps(roles | config))
    return path


@pytest.mark.parametrize(
    "config",
    [
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"tokenizer_class": "CohereTokenizerFast"},
        {"tokenizer_class": "GemmaTokenizer"},
        {"tokenizer_class": "Qwen2Tokenizer"},
        {"tokenizer_class": "LlamaTokenizer", "padding_side": "right", "truncation_side": "left"},
        {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "left"},
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 77},
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1e30},
    ],
    ids=str,
)
def test_sides_and_lengths_are_those_of_transformers(config, tmp_path):
    ours = TextSide.from_pretrained(folder(tmp_path, **config))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert (ours.padding_side, ours.truncation_side) == (
        theirs.padding_side,
        theirs.truncation_side,
    )
    assert (ours.model_max_length or 10**30) == pytest.approx(theirs.model_max_length)


def test_tokens_with_a_name_wherever_the_file_has_them(tmp_path):
    tokens = {"boi_token": "<eos>", "image_token": {"content": "<pad>", "special": True}}
    for config in (tokens, {"extra_special_tokens": tokens}):
        ours = TextSide.from_pretrained(folder(tmp_path, **config))
        assert (ours.tokens["boi_token"], ours.tokens["image_token"]) == ("<eos>", "<pad>")
    with pytest.raises(WorkError, match="no token '<no>'"):
        ours.id_of("<no>")


def test_truncation_takes_from_the_side_of_the_folder(tmp_path):
    left = TextSide.from_pretrained(folder(tmp_path, truncation_side="left"))
    right = TextSide.from_pretrained(folder(tmp_path))
    whole = right.batch(["a name of an object"]).ids[0]
    options = {"truncation": True, "max_length": 5}
    assert left.batch(["a name of an object"], **options).ids == [whole[:1] + whole[-4:]]
    assert right.batch(["a name of an object"], **options).ids == [whole[:5]]
    with pytest.raises(UsageError) as caught:
        right.batch(["a"], truncation=True)
    assert caught.value.where == "max_length"
    with pytest.raises(WorkError, match="not left or right"):
        TextSide.from_pretrained(folder(tmp_path, padding_side="top"))
