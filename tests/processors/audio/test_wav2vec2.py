"""wav2vec2's waves beside transformers'."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor as Oracle

from tests.processors.audio.clips import RATE, noise, sine, sound_file
from tfcli.errors import UsageError, WorkError
from tfcli.processors.audio.wav2vec2 import Wav2Vec2FeatureExtractor, Wav2Vec2Settings

BATCH = [noise(1_000) + 0.1, noise(2_345, seed=1) * 3, noise(801, seed=2) - 0.2]


def pair(**settings):
    """Our extractor and theirs."""
    own = Wav2Vec2FeatureExtractor(Wav2Vec2Settings.from_dict(settings))
    return own, Oracle(**settings)


@pytest.mark.parametrize("mask", [None, True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_normalize": False, "padding_value": 0.5},
        {"return_attention_mask": True, "padding_value": -1.0},
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"padding": True},
        {"padding": "longest", "pad_to_multiple_of": 100},
        {"padding": "max_length", "max_length": 3_000},
        {"padding": "max_length", "max_length": 1_500, "truncation": True},
        {"padding": "max_length", "max_length": 1_501, "truncation": True, "pad_to_multiple_of": 7},
        {"max_length": 800, "truncation": True},
    ],
)
def test_a_batch_of_several_lengths(settings, options, mask) -> None:
    own, theirs = pair(**settings)
    options = {**options, "return_attention_mask": mask}
    found = own(BATCH, RATE, **options)
    wanted = theirs(BATCH, sampling_rate=RATE, return_tensors="pt", **options)
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-4, rtol=0)


def test_one_wave_of_a_file() -> None:
    own, theirs = pair()
    found = own(sound_file(sine(), subtype="FLOAT"))["input_values"]
    wanted = theirs(sine(), sampling_rate=RATE, return_tensors="pt")["input_values"]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert found.mean().abs() < 1e-5 and found.var() == pytest.approx(1, abs=1e-3)


def test_an_array_of_two_dimensions_is_a_batch() -> None:
    own, theirs = pair()
    both = np.stack([BATCH[0], BATCH[0][::-1] * 2])
    wanted = theirs(both, sampling_rate=RATE, return_tensors="pt")["input_values"]
    for given in (both, torch.from_numpy(both), both.tolist()):
        found = own(given, RATE)["input_values"]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_the_mask_counts_on_the_left_side_too() -> None:
    own, _ = pair(padding_side="left", return_attention_mask=True)
    found = own(BATCH, RATE, padding=True)
    alone = own(BATCH[2], RATE)["input_values"][0]
    torch.testing.assert_close(found["input_values"][2, -801:], alone)
    assert not found["input_values"][2, :-801].any()
    assert found["attention_mask"].sum(1).tolist() == [1_000, 2_345, 801]


def test_silence_stays_silence() -> None:
    assert not pair()[0](np.zeros(500, "f4"), RATE)["input_values"].any()


def test_settings_are_read_and_written_as_transformers_does(tmp_path) -> None:
    own, theirs = pair(do_normalize=False, sampling_rate=8_000, return_attention_mask=True)
    theirs.save_pretrained(tmp_path / "theirs")
    own.save_pretrained(tmp_path / "ours")
    name = "preprocessor_config.json"
    assert json.loads((tmp_path / "ours" / name).read_text()) == json.loads(
        (tmp_path / "theirs" / name).read_text()
    )
    read = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "theirs")
    assert read.settings == own.settings
    assert read.model_input_names == ("input_values", "attention_mask")
    assert pair()[0].model_input_names == ("input_values",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "801 to 2,345 samples and stay different"),
        ({"padding": "max_length"}, "needs max_length"),
        ({"truncation": True}, "truncation needs max_length"),
        ({"padding": "up"}, "padding is 'up'"),
        ({"padding": True, "pad_to_multiple_of": 0}, "pad_to_multiple_of is 0"),
        ({"truncation": True, "max_length": 0}, "max_length is 0"),
        ({"padding": "max_length", "max_length": 10**12}, "1,000,000,000,000 samples, more than"),
        ({"padding": True, "pad_to_multiple_of": 10**12}, "1,000,000,000,000 samples, more than"),
    ],
)
def test_arguments_that_contradict_each_other(options, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pair()[0](BATCH, RATE, **options)


def test_waves_have_one_number_a_sample(tmp_path) -> None:
    with pytest.raises(WorkError, match="feature_size is 80"):
        Wav2Vec2Settings.from_dict({"feature_size": 80})
    with pytest.raises(WorkError, match=r"there is no preprocessor_config\.json"):
        Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(WorkError, match="expected a JSON object"):
        Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
