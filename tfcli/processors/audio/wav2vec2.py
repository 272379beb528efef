"""The waves that wav2vec2 and its relatives take (Baevski et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor

from tfcli.errors import WorkError
from tfcli.processors.audio.batch import as_waves
from tfcli.processors.audio.load import Audio
from tfcli.processors.audio.padding import Padding, normalized, pad_waves
from tfcli.processors.audio.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Settings(Settings):
    """Settings of `Wav2Vec2FeatureExtractor`.

    Args:
        do_normalize: each wave gets a mean of 0 and a variance of 1. Without an attention mask,
            as models with group norm were trained, what fills up counts, too.
    """

    kind: ClassVar[str] = "Wav2Vec2FeatureExtractor"

    do_normalize: bool = True

    def check(self, where: str | None = None) -> None:
        super().check(where)
        if self.feature_size != 1:
            raise WorkError(
                f"feature_size is {self.feature_size}, but waves have one number a sample",
                where=where,
            )


class Wav2Vec2FeatureExtractor:
    """Audio to `input_values`.

    Args:
        settings: those of a checkpoint, or wav2vec2's own.
    """

    def __init__(self, settings: Wav2Vec2Settings | None = None) -> None:
        self.settings = settings or Wav2Vec2Settings()
        self.settings.check()

    @property
    def model_input_names(self) -> tuple[str, ...]:
        """What a call returns by default."""
        mask = ("attention_mask",) if self.settings.return_attention_mask else ()
        return ("input_values", *mask)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """Read the settings of a folder.

        Raises:
            WorkError: they cannot be read, or are those of another extractor.
        """
        return cls(Wav2Vec2Settings.read(Path(folder)))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write preprocessor_config.json."""
        self.settings.save(Path(folder))

    def __call__(
        self,
        audio: Audio | Sequence[Audio],
        sampling_rate: int | None = None,
        *,
        padding: Padding = False,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
    ) -> dict[str, Tensor]:
        """The waves of one piece of audio, or of several.

        Args:
            audio: as `as_waves` takes it.
            sampling_rate: of arrays; they are resampled where the model has another.
            padding, max_length, truncation, pad_to_multiple_of: as in `pad_waves`.
            return_attention_mask: None: as the settings say.

        Returns:
            `input_values` [b, n], and `attention_mask` [b, n], int32

        Raises:
            UsageError: arguments that contradict each other, or waves of several lengths that are
                neither padded nor truncated.
            WorkError: audio that cannot be read.
        """
        own = self.settings
        waves, mask = pad_waves(
            as_waves(audio, own.sampling_rate, sampling_rate),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            value=own.padding_value,
            side=own.padding_side,
        )
        if return_attention_mask is None:
            return_attention_mask = own.return_attention_mask
        if own.do_normalize:
            waves = normalized(waves, mask if return_attention_mask else None, own.padding_value)
        found = {"input_values": waves}
        if return_attention_mask:
            found["attention_mask"] = mask
        return found
