"""Parts of long audio are those of transformers."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor
from transformers.models.whisper.generation_whisper import WhisperGenerationMixin
from transformers.pipelines.automatic_speech_recognition import chunk_iter

from tests.processors.audio.clips import noise
from tfcli.errors import UsageError
from tfcli.processors.audio.windows import chunks, feature_window


@pytest.mark.parametrize("samples", [1, 99, 100, 101, 160, 161, 1_000, 1_017])
@pytest.mark.parametrize("margins", [(0, 0), (10, 30), (40, 5)])
def test_chunks_are_those_of_the_pipeline(samples: int, margins) -> None:
    wave = noise(samples)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    wanted = [
        (chunk["input_values"][0], *chunk["stride"])
        for chunk in chunk_iter(wave, extractor, 100, *margins)
    ]
    found = list(chunks(samples, 100, *margins))
    assert [(one.stop - one.start, one.left, one.right) for one in found] == [
        one[1:] for one in wanted
    ]
    for one, (values, *_) in zip(found, wanted, strict=True):
        assert torch.equal(torch.from_numpy(wave[one.start : one.stop]), values)


def test_every_sample_belongs_to_one_chunk() -> None:
    found = list(chunks(1_017, 100, 10, 30))
    own = [(one.start + one.left, one.stop - one.right) for one in found]
    assert own[0][0] == 0 and own[-1][1] == 1_017
    assert all(before[1] == after[0] for before, after in pairwise(own))


def test_margins_leave_something() -> None:
    with pytest.raises(UsageError, match="leave nothing"):
        list(chunks(100, 20, 10, 10))
    with pytest.raises(UsageError, match="leave nothing"):
        list(chunks(100, 20, -1, 10))


@pytest.mark.parametrize("start", [0, 7, 60, 99])
def test_windows_are_those_of_generation(start: int) -> None:
    features = torch.randn(2, 4, 100)
    rest = min(30, 100 - start)
    wanted = WhisperGenerationMixin._get_input_segment(
        features, [start, start], [rest, rest], 30, 2, [0, 1]
    )
    assert torch.equal(feature_window(features, start, 30), wanted)


def test_a_window_starts_in_the_audio() -> None:
    for start in (-1, 100):
        with pytest.raises(UsageError, match="is not one of 100"):
            feature_window(torch.zeros(1, 2, 100), start, 30)
