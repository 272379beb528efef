"""Whisper's features: log-mel spectrograms of 30 seconds (Radford et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.processors.audio.batch import as_waves
from tfcli.processors.audio.load import Audio
from tfcli.processors.audio.padding import Padding, normalized, pad_waves
from tfcli.processors.audio.settings import Settings, check_samples
from tfcli.processors.audio.spectrogram import log_mel, mel_filters

_HIGHEST = 8_000.0  # Hz, where the last mel filter ends, whatever the sampling rate


@dataclass(frozen=True, kw_only=True)
class WhisperSettings(Settings):
    """Settings of `WhisperFeatureExtractor`.

    Args:
        feature_size: mel filters: 80, or 128 from large-v3 on.
        chunk_length: seconds of a window.
        hop_length: samples from one frame to the next. n_fft: samples of a frame.
        dither: standard deviation of noise that is added to the samples.
    """

    kind: ClassVar[str] = "WhisperFeatureExtractor"
    derived: ClassVar[frozenset[str]] = frozenset({"mel_filters", "n_samples", "nb_max_frames"})

    feature_size: int = 80
    chunk_length: int = 30
    hop_length: int = 160
    n_fft: int = 400
    dither: float = 0.0

    @property
    def n_samples(self) -> int:
        """Samples of a window."""
        return self.chunk_length * self.sampling_rate

    @property
    def nb_max_frames(self) -> int:
        """Frames of a window."""
        return self.n_samples // self.hop_length

    def check(self, where: str | None = None) -> None:
        super().check(where)
        check_samples(self.n_samples, "a window of chunk_length seconds has", where)
        for key, low, high in (
            ("feature_size", 1, 1_024),
            ("n_fft", 2, 1 << 16),
            ("hop_length", 1, self.n_fft),
        ):
            if not low <= (value := getattr(self, key)) <= high:
                raise WorkError(f"{key} is {value:,}, not in {low}..{high:,}", where=where)
        if self.dither < 0:
            raise WorkError(f"dither is {self.dither}, below 0", where=where)

    def to_dict(self) -> dict[str, Any]:
        derived = {"n_samples": self.n_samples, "nb_max_frames": self.nb_max_frames}
        return dict(sorted({**super().to_dict(), **derived}.items()))


class WhisperFeatureExtractor:
    """Audio to `input_features`.

    Args:
        settings: those of a checkpoint, or Whisper's own.
    """

    model_input_names = ("input_features",)

    def __init__(self, settings: WhisperSettings | None = None) -> None:
        self.settings = settings or WhisperSettings()
        self.settings.check()

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """Read the settings of a folder.

        Raises:
            WorkError: they cannot be read, or are those of another extractor.
        """
        return cls(WhisperSettings.read(Path(folder)))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write preprocessor_config.json."""
        self.settings.save(Path(folder))

    @cached_property
    def mel_filters(self) -> Tensor:
        """[mels, n_fft / 2 + 1], float32."""
        own = self.settings
        filters = mel_filters(
            1 + own.n_fft // 2, own.feature_size, own.sampling_rate, highest=_HIGHEST
        )
        return filters.float()

    def __call__(
        self,
        audio: Audio | Sequence[Audio],
        sampling_rate: int | None = None,
        *,
        padding: Padding = "max_length",
        max_length: int | None = None,
        truncation: bool = True,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        do_normalize: bool = False,
    ) -> dict[str, Tensor]:
        """The features of one piece of audio, or of several.

        Audio longer than a window loses its end, unless `truncation` is False; `windows.py` cuts
        what is longer.

        Args:
            audio: as `as_waves` takes it.
            sampling_rate: of arrays; they are resampled where the model has another.
            padding: of the samples, as in `pad_waves`; to a whole window by default.
            max_length: samples; those of a window by default.
            truncation, pad_to_multiple_of: as in `pad_waves`.
            return_attention_mask: None: as the settings say.
            do_normalize: each wave has mean 0 and variance 1 first.

        Returns:
            `input_features` [b, mels, frames], and `attention_mask` [b, frames], int32

        Raises:
            UsageError: arguments that contradict each other.
            WorkError: audio that cannot be read.
        """
        own = self.settings
        waves, mask = pad_waves(
            as_waves(audio, own.sampling_rate, sampling_rate),
            padding=padding,
            max_length=own.n_samples if max_length is None else max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            value=own.padding_value,
            side=own.padding_side,
        )
        if waves.shape[1] < own.hop_length:
            raise UsageError(f"{waves.shape[1]} samples are less than a frame", where="audio")
        if do_normalize:
            waves = normalized(waves, mask, own.padding_value)
        if own.dither:
            waves = waves + own.dither * torch.randn_like(waves)
        features = log_mel(waves, self.mel_filters, own.n_fft, own.hop_length)
        found = {"input_features": features}
        if return_attention_mask is None:
            return_attention_mask = own.return_attention_mask
        if return_attention_mask:
            # A frame is of the audio where its middle is.
            found["attention_mask"] = mask[:, :: own.hop_length][:, : features.shape[2]]
        return found
