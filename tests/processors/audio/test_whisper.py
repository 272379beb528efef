"""Whisper's features beside transformers', on seconds of made sound."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor as Oracle

from tests.processors.audio.clips import RATE, noise, sine, sound_file
from tfcli.errors import UsageError, WorkError
from tfcli.processors.audio.whisper import WhisperFeatureExtractor, WhisperSettings

SMALL = {"chunk_length": 1}  # a window of one second rather than 30


def pair(**settings):
    """Our extractor and theirs."""
    own = WhisperFeatureExtractor(WhisperSettings.from_dict(settings))
    return own, Oracle(**settings)


def assert_same(own, theirs, audio, **options) -> None:
    found = own(audio, sampling_rate=RATE, **options)
    wanted = theirs(audio, sampling_rate=RATE, return_tensors="pt", **options)
    # transformers adds the mask of the samples where it normalizes and no mask was asked for.
    assert ("attention_mask" in found) == options.get("return_attention_mask", False)
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("mels", [80, 128])
def test_a_tone_of_a_file_has_the_features_of_transformers(tmp_path, mels: int) -> None:
    tone = sine(0.7)
    (tmp_path / "tone.wav").write_bytes(sound_file(tone, subtype="FLOAT"))
    own, theirs = pair(feature_size=mels)
    found = own(tmp_path / "tone.wav")["input_features"]
    wanted = theirs(tone, sampling_rate=RATE, return_tensors="pt")["input_features"]
    assert found.shape == (1, mels, 3000)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_normalize": True},
        {"padding": "longest", "truncation": False},
        {"padding": "longest", "truncation": False, "pad_to_multiple_of": 160},
        {"max_length": 7_000},
    ],
)
def test_a_batch_of_several_lengths(options, mask: bool) -> None:
    audio = [noise(5_000), noise(20_123, seed=1), noise(801, seed=2)]
    assert_same(*pair(**SMALL), audio, return_attention_mask=mask, **options)


def test_longer_audio_keeps_its_end_where_it_is_not_truncated() -> None:
    own, theirs = pair(**SMALL)
    audio = noise(3 * RATE + 77)
    assert own(audio, RATE)["input_features"].shape == (1, 80, 100)
    assert_same(own, theirs, audio, truncation=False, return_attention_mask=True)


def test_the_last_frame_of_a_length_that_no_hop_divides_is_not_marked_twice() -> None:
    own, theirs = pair(**SMALL)
    options = {"padding": "longest", "truncation": False, "return_attention_mask": True}
    for samples in (1_599, 1_600, 1_601):
        assert_same(own, theirs, noise(samples), **options)


def test_silence_is_the_floor() -> None:
    features = pair(**SMALL)[0](np.zeros(RATE, dtype="f4"), RATE)["input_features"]
    assert features.unique().tolist() == [-1.5]


def test_other_rates_are_resampled_and_files_say_theirs() -> None:
    own, _ = pair(**SMALL)
    tone = sine(0.5, 8_000)
    by_array = own(tone, sampling_rate=8_000)["input_features"]
    by_file = own(sound_file(tone, 8_000, subtype="FLOAT"))["input_features"]
    assert torch.equal(by_array, by_file)
    loudest = by_array.mean(2).argmax().item()
    assert loudest == own(sine(0.5), RATE)["input_features"].mean(2).argmax().item()


def test_dither_is_noise_of_its_size() -> None:
    own, _ = pair(**SMALL, dither=0.5)
    torch.manual_seed(0)
    first = own(np.zeros(RATE, dtype="f4"), RATE)["input_features"]
    assert first.unique().numel() > 1000
    assert not torch.equal(first, own(np.zeros(RATE, dtype="f4"), RATE)["input_features"])


def test_settings_are_read_and_written_as_transformers_does(tmp_path) -> None:
    own, theirs = pair(feature_size=128, dither=0.25)
    theirs.save_pretrained(tmp_path / "theirs")
    own.save_pretrained(tmp_path)
    read = [json.loads((at / "preprocessor_config.json").read_text())
            for at in (tmp_path, tmp_path / "theirs")]  # fmt: skip
    assert read[0] == read[1]
    assert WhisperFeatureExtractor.from_pretrained(tmp_path).settings == own.settings
    assert Oracle.from_pretrained(tmp_path).to_dict() == theirs.to_dict()


def test_settings_inside_a_processors_file_count_first(tmp_path) -> None:
    pair(feature_size=80)[0].save_pretrained(tmp_path)
    nested = {"feature_extractor": {"feature_size": 128}, "processor_class": "WhisperProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert WhisperFeatureExtractor.from_pretrained(tmp_path).settings.feature_size == 128
    pair(feature_size=64)[0].save_pretrained(tmp_path)
    assert WhisperFeatureExtractor.from_pretrained(tmp_path).settings.feature_size == 64
    assert Oracle.from_pretrained(tmp_path).feature_size == 64


def test_filters_of_an_old_file_are_not_read_and_other_keys_are_kept() -> None:
    given = {"mel_filters": [[0.0]], "processor_class": "WhisperProcessor"}
    written = WhisperSettings.from_dict(given).to_dict()
    assert "mel_filters" not in written and written["processor_class"] == "WhisperProcessor"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_size": "80"}, "feature_size must be a whole number"),
        ({"feature_size": True}, "feature_size must be a whole number"),
        ({"feature_size": 10**6}, r"feature_size is 1,000,000, not in 1\.\.1,024"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"chunk_length": 10**6}, "a window of chunk_length seconds has 16,000,000,000"),
        ({"sampling_rate": 1}, "sampling_rate is 1"),
        ({"padding_value": float("nan")}, "padding_value must be a number"),
        ({"padding_side": "up"}, "padding_side must be left or right"),
        ({"dither": -1.0}, "below 0"),
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "not WhisperFeatureExtractor"),
    ],
)
def test_wrong_settings_are_named(settings, message: str) -> None:
    with pytest.raises(WorkError, match=message):
        WhisperSettings.from_dict(settings)


def test_arrays_say_their_rate_and_something_is_given() -> None:
    own, _ = pair(**SMALL)
    with pytest.raises(UsageError, match="without their sampling rate"):
        own(sine())
    with pytest.raises(UsageError, match="max_length is 0"):
        own(sine(), RATE, max_length=0)
    with pytest.raises(UsageError, match="no audio was given"):
        own([], RATE)
    with pytest.raises(WorkError, match="no samples"):
        own(np.zeros(0, dtype="f4"), RATE)
