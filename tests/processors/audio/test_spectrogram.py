"""Mel filters and log-mel spectrograms beside transformers'."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from transformers import audio_utils

from tests.processors.audio.clips import noise
from tfcli.errors import UsageError
from tfcli.processors.audio import spectrogram


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mels_are_those_of_transformers_and_lead_back(scale: str) -> None:
    hertz = np.array([0.0, 60.0, 999.0, 1000.0, 1001.0, 8000.0])
    mels = spectrogram.hertz_to_mel(torch.from_numpy(hertz), scale)
    np.testing.assert_allclose(mels, audio_utils.hertz_to_mel(hertz.copy(), scale), rtol=1e-12)
    back = spectrogram.mel_to_hertz(mels, scale)
    np.testing.assert_allclose(back, hertz, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("equal_area", [True, False])
@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("mels", [80, 128])
def test_filters_are_those_of_transformers(mels: int, scale: str, equal_area: bool) -> None:
    own = spectrogram.mel_filters(
        201, mels, 16_000, lowest=20.0, highest=7_600.0, scale=scale, equal_area=equal_area
    )
    norm = "slaney" if equal_area else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the narrowest filters lie between two frequencies
        theirs = audio_utils.mel_filter_bank(201, mels, 20.0, 7_600.0, 16_000, norm, scale)
    np.testing.assert_allclose(own, theirs.T, rtol=1e-9, atol=1e-12)


def test_a_spectrogram_made_in_blocks_is_the_one_made_at_once(monkeypatch) -> None:
    waves = torch.from_numpy(noise(2 * 4_000).reshape(2, -1))
    filters = spectrogram.mel_filters(201, 80, 16_000, highest=8_000.0).float()
    whole = spectrogram.log_mel(waves, filters, 400, 160)
    monkeypatch.setattr(spectrogram, "_BLOCK", 7)
    torch.testing.assert_close(spectrogram.log_mel(waves, filters, 400, 160), whole)
    assert whole.shape == (2, 80, 25)


def test_too_few_samples_are_refused() -> None:
    filters = spectrogram.mel_filters(201, 80, 16_000, highest=8_000.0).float()
    with pytest.raises(UsageError, match="200 samples are too few"):
        spectrogram.log_mel(torch.zeros(1, 200), filters, 400, 160)


def test_filters_without_room_are_refused() -> None:
    with pytest.raises(UsageError, match="no 0 mel filters"):
        spectrogram.mel_filters(201, 0, 16_000, highest=8_000.0)
    with pytest.raises(UsageError, match=r"from 9000\.0 to 8000\.0 Hz"):
        spectrogram.mel_filters(201, 80, 16_000, lowest=9_000.0, highest=8_000.0)
