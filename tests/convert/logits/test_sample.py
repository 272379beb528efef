"""Random inputs that any model takes."""

from __future__ import annotations

import pytest
import torch

from tests.checkpoints.models import BERT, LLAMA
from tfcli.convert.logits.sample import sample_inputs
from tfcli.models.loading import build, initialize
from tfcli.models.model import Model
from tfcli.models.registry import read_config


def model(settings: dict, task: str | None = None, **changes) -> Model:
    return initialize(build(read_config({**settings, **changes}), task)).eval()


def test_equal_seeds_give_equal_inputs():
    llama = model(LLAMA)
    one, again, other = (sample_inputs(llama, seed, 2, 8)["input_ids"] for seed in (3, 3, 4))
    assert one.shape == (2, 8)
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("pad", [None, 0, 2, 4])
def test_ids_are_those_of_the_vocabulary_but_for_padding(pad):
    ids = sample_inputs(model(LLAMA, vocab_size=5, pad_token_id=pad), 0, 20, 20)["input_ids"]
    assert set(ids.unique().tolist()) == {0, 1, 2, 3, 4} - {pad}


def test_texts_are_no_longer_than_the_model_takes():
    assert sample_inputs(model(LLAMA), 0, 1, 100)["input_ids"].shape == (1, 32)
    # Two of RoBERTa's positions belong to no token.
    roberta = model(BERT, model_type="roberta", pad_token_id=1)
    inputs = sample_inputs(roberta, 0, 1, 100)
    assert inputs["input_ids"].shape == (1, 30)
    roberta(**inputs)


def test_segments_and_choices():
    inputs = sample_inputs(model(BERT, "multiple-choice"), 0, 3, 8)
    assert {name: value.shape for name, value in inputs.items()} == {
        "input_ids": (3, 2, 8),
        "token_type_ids": (3, 2, 8),
    }
    assert set(inputs["token_type_ids"].unique().tolist()) == {0, 1}


def test_boxes_and_the_types_of_a_table():
    layout = model(BERT, model_type="layoutlm", max_2d_position_embeddings=16)
    boxes = sample_inputs(layout, 0, 2, 8)["bbox"]
    assert boxes.shape == (2, 8, 4) and bool((boxes[..., :2] <= boxes[..., 2:]).all())
    tapas = model(BERT, model_type="tapas", type_vocab_sizes=[3, 7, 9])
    types = sample_inputs(tapas, 0, 2, 16)["token_type_ids"]
    assert types.shape == (2, 16, 3) and types.amax((0, 1)).tolist() > [1, 3, 3]


def test_a_decoder_reads_its_own_words():
    marian = {
        "model_type": "marian",
        "vocab_size": 40,
        "decoder_vocab_size": 7,
        "share_encoder_decoder_embeddings": False,
        "tie_word_embeddings": False,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "max_position_embeddings": 32,
        "pad_token_id": 6,
        "eos_token_id": 0,
        "decoder_start_token_id": 6,
    }
    inputs = sample_inputs(model(marian), 0, 4, 16)
    assert inputs["input_ids"].max() > 6 and inputs["input_ids"][:, -1].tolist() == [0] * 4
    assert set(inputs["decoder_input_ids"].unique().tolist()) == set(range(6))
