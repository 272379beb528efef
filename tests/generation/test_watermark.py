"""Watermarks are those of transformers, and are found as it finds them."""

from __future__ import annotations

import pytest
import torch
import transformers

from tests.generation.strategies.theirs import (
    CONFIGS,
    NEW,
    PROMPTS,
    drawing_our_way,
    our_texts,
    pair,
    their_texts,
)
from tfcli.errors import WorkError
from tfcli.generation.settings import read_settings
from tfcli.generation.watermark import Watermark, detect

MARKS = [
    {"bias": 5.0},
    {"bias": 5.0, "greenlist_ratio": 0.5, "seeding_scheme": "selfhash"},
    {"bias": 6.0, "seeding_scheme": "selfhash", "context_width": 3, "hashing_key": 77},
]
every_mark = pytest.mark.parametrize("mark", MARKS, ids=str)


@every_mark
@pytest.mark.parametrize(("model_type", "beams"), [("llama", 1), ("llama", 2), ("bart", 1)])
def test_marked_texts_are_those_of_transformers(model_type, mark, beams):
    prompts = [prompt for prompt in PROMPTS if len(prompt) >= mark.get("context_width", 1)]
    said = {"watermarking_config": mark, "num_beams": beams}
    wanted = [*(their_texts(model_type, said, each, do_sample=False)[0] for each in prompts)]
    assert our_texts(model_type, said, prompts)[0] == wanted


def test_draws_are_marked_after_what_they_leave_out():
    said = {"do_sample": True, "temperature": 2.0, "top_k": 5, "watermarking_config": MARKS[0]}
    found, _ = our_texts("llama", said, [PROMPTS[0]], seeds=[4])
    with drawing_our_way(4):
        assert found == their_texts("llama", said, PROMPTS[0])


@every_mark
@pytest.mark.parametrize("repeated", [True, False])
def test_a_detection_is_that_of_transformers(mark, repeated):
    ids = our_texts("llama", {"watermarking_config": mark}, [PROMPTS[0]])[0][0] * 3
    theirs = transformers.WatermarkDetector(
        CONFIGS["llama"],
        "cpu",
        transformers.WatermarkingConfig(**mark),
        ignore_repeated_ngrams=not repeated,
    )(torch.tensor([ids]), return_dict=True)
    found = detect(ids, Watermark(**mark), 40, repeated=repeated)
    assert (found.tokens, found.green) == (
        theirs.num_tokens_scored[0],
        theirs.num_green_tokens[0],
    )
    assert found.z_score == pytest.approx(theirs.z_score[0])
    assert found.p_value == pytest.approx(theirs.p_value[0])
    assert found.tokens > NEW or not repeated


def test_another_key_finds_no_mark():
    ids = our_texts("llama", {"watermarking_config": MARKS[0]}, [PROMPTS[0]])[0][0]
    assert detect(ids, Watermark(), 40).green > detect(ids, Watermark(hashing_key=5), 40).green


def test_a_text_must_be_longer_than_the_context():
    with pytest.raises(ValueError, match="a text of 2 tokens"):
        detect([5, 6], Watermark(context_width=2), 40)


@pytest.mark.parametrize(
    "mark",
    [{"bias": "x"}, {"greenlist_ratio": 1.0}, {"seeding_scheme": "both"}, {"ngram_len": 5}, 3],
    ids=str,
)
def test_what_is_no_watermark_is_named(mark):
    with pytest.raises(WorkError):
        read_settings({"watermarking_config": mark}, pair("llama")[1].config)
