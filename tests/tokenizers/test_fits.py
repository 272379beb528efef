"""A tokenizer whose ids go past the embedding table."""

from __future__ import annotations

import pytest

from tests.tokenizers.folders import make
from tfcli.errors import WorkError
from tfcli.models.registry import read_config
from tfcli.tokenizers.fits import check_fits, check_ids
from tfcli.tokenizers.load import load_tokenizer


def config(vocab_size):
    return read_config({"model_type": "gpt2", "vocab_size": vocab_size})


def test_ordinary_tokens_must_have_an_embedding(tmp_path):
    tokenizer = load_tokenizer(make(tmp_path, "gpt2"))
    check_fits(tokenizer, config(450), "model")
    check_fits(tokenizer, config(512), "model")
    with pytest.raises(WorkError, match="ids up to 449, but the model has 449 embeddings") as error:
        check_fits(tokenizer, config(449), "model")
    assert error.value.where == "model"


def test_an_added_token_may_lie_outside_until_a_text_has_it(tmp_path):
    extra = {"extra_special_tokens": ["<image>"]}
    tokenizer = load_tokenizer(make(tmp_path, "gpt2", tokenizer_config=extra))
    assert tokenizer.vocab_size == 451
    check_fits(tokenizer, config(450), "model")
    check_ids(tokenizer.encode("a text"), config(450), "model")
    check_ids([], config(450), "model")
    with pytest.raises(WorkError, match="gives id 450, but the model has 450"):
        check_ids(tokenizer.encode("an <image>"), config(450), "model")


def test_an_id_of_features_needs_no_row(tmp_path):
    """A composed model reads no row of the table where the features of a medium go."""
    extra = {"extra_special_tokens": ["<image>", "<other>"]}
    tokenizer = load_tokenizer(make(tmp_path, "gpt2", tokenizer_config=extra))
    tower = {"encoder_config": {"model_type": "clip_vision_model"}, "token_id": 450}
    text = {"model_type": "gpt2", "vocab_size": 450}
    whole = read_config(
        {"model_type": "multimodal", "text_config": text, "encoders": {"vision": tower}}
    )
    assert whole.media_tokens == {"vision": 450}
    check_fits(tokenizer, whole, "model")
    check_ids(tokenizer.encode("an <image>"), whole, "model")
    with pytest.raises(WorkError, match="gives id 451, but the model has 450"):
        check_ids(tokenizer.encode("an <image> and <other>"), whole, "model")


def test_what_surrounds_every_text_must_have_an_embedding(tmp_path):
    bos = {"bos_token": "<bos>", "add_bos_token": True}
    tokenizer = load_tokenizer(make(tmp_path, "gpt2", tokenizer_config=bos))
    assert tokenizer.prefix == (450,)
    with pytest.raises(WorkError, match="ids up to 450"):
        check_fits(tokenizer, config(450), "model")
