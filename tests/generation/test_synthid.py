"""SynthID marks as transformers' processor does, and reads what it reads."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers.generation.logits_process import SynthIDTextWatermarkLogitsProcessor

from tests.generation.strategies.theirs import (
    PROMPTS,
    drawing_our_way,
    our_texts,
    pair,
    their_texts,
)
from tfcli.errors import WorkError
from tfcli.generation.settings import read_settings
from tfcli.generation.synthid import SynthId, detect_synthid

KEYS = [654, 400, 836, 123, 340]
MARKS = [
    {"keys": KEYS, "ngram_len": 3},
    {"keys": KEYS, "ngram_len": 4, "skip_first_ngram_calls": True, "sampling_table_size": 500},
    {"keys": KEYS[:2], "ngram_len": 2, "context_history_size": 2, "sampling_table_seed": 5},
]
every_mark = pytest.mark.parametrize("mark", MARKS, ids=str)


@every_mark
@pytest.mark.parametrize("model_type", ["llama", "bart"])
def test_marked_draws_are_those_of_transformers(model_type, mark):
    said = {"do_sample": True, "temperature": 1.3, "top_k": 0, "watermarking_config": mark}
    theirs = said | {"watermarking_config": transformers.SynthIDTextWatermarkingConfig(**mark)}
    texts, _ = our_texts(model_type, said, seeds=[6, 6, 6])
    for prompt, text in zip(PROMPTS, texts, strict=True):
        with drawing_our_way(6):
            assert [text] == their_texts(model_type, theirs, prompt)
    assert texts != our_texts(model_type, said | {"watermarking_config": None}, seeds=[6, 6, 6])[0]


@every_mark
def test_what_is_read_is_what_theirs_reads(mark):
    ids = torch.randint(0, 4, (60,), generator=torch.Generator().manual_seed(0))
    whole = {"sampling_table_size": 65536, "sampling_table_seed": 0, "context_history_size": 1024}
    theirs = SynthIDTextWatermarkLogitsProcessor(device="cpu", **(whole | mark))
    values = theirs.compute_g_values(ids[None])[0]
    kept = values[theirs.compute_context_repetition_mask(ids[None])[0].bool()]
    found = detect_synthid(ids.tolist(), SynthId(**mark | {"keys": tuple(mark["keys"])}))
    assert (found.tokens, found.green) == (kept.numel(), int(kept.sum()))


def test_a_mark_is_found_by_its_keys():
    said = {"do_sample": True, "temperature": 3.0, "watermarking_config": MARKS[0]}
    texts, _ = our_texts("llama", said, [PROMPTS[0]] * 12, seeds=range(12))
    mark = SynthId(tuple(KEYS), ngram_len=3)
    found = [detect_synthid(text, mark).z_score for text in texts]
    others = [detect_synthid(text, SynthId((5, 6, 7, 8, 9), ngram_len=3)).z_score for text in texts]
    assert sum(found) / 12 > 1 > sum(others) / 12


def test_a_text_must_have_enough_tokens():
    with pytest.raises(ValueError, match="has no 5 in a row"):
        detect_synthid([1, 2, 3, 4], SynthId((1,)))


@pytest.mark.parametrize(
    "mark", [{"keys": []}, {"keys": ["x"]}, {"keys": [1], "ngram_len": 1}, {"keys": [1], "bias": 2}]
)
def test_what_is_no_mark_is_named(mark):
    with pytest.raises(WorkError, match="watermarking_config"):
        read_settings({"watermarking_config": mark}, pair("llama")[1].config)
