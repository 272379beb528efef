"""Processors of speech models: audio to features, text to labels, predictions to text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError
from tfcli.files import write_json
from tfcli.processors.audio.ctc_tokenizer import CtcTokenizer
from tfcli.processors.audio.load import Audio
from tfcli.processors.audio.wav2vec2 import Wav2Vec2FeatureExtractor
from tfcli.processors.audio.whisper import WhisperFeatureExtractor
from tfcli.processors.audio.whisper_tokenizer import WhisperTokenizer

IGNORED = -100
"""The label of what fills up; losses leave it out."""


Extractor = TypeVar("Extractor", WhisperFeatureExtractor, Wav2Vec2FeatureExtractor)
Words = TypeVar("Words", WhisperTokenizer, CtcTokenizer)


class SpeechProcessor(Generic[Extractor, Words]):
    """A feature extractor and a tokenizer.

    Class attributes:
        extractor_class, tokenizer_class: what `from_pretrained` reads.
    """

    extractor_class: ClassVar[Any]
    tokenizer_class: ClassVar[Any]

    def __init__(self, feature_extractor: Extractor, tokenizer: Words) -> None:
        self.feature_extractor: Extractor = feature_extractor
        self.tokenizer: Words = tokenizer

    @classmethod
    def from_pretrained(cls, folder: Path | str, **tokenizer_options: Any) -> Self:
        """Read both from a folder; the options are those of the tokenizer's `from_pretrained`.

        Raises:
            WorkError: files that lack, or that cannot be read.
        """
        return cls(
            cls.extractor_class.from_pretrained(folder),
            cls.tokenizer_class.from_pretrained(folder, **tokenizer_options),
        )

    def save_pretrained(self, folder: Path | str) -> None:
        """Write preprocessor_config.json and the tokenizer's files, with the processor's name."""
        folder = Path(folder)
        name = {"processor_class": type(self).__name__}
        settings = self.feature_extractor.settings
        replace(settings, extra={**settings.extra, **name}).save(folder)
        self.tokenizer.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        write_json(path, {**read_json(path), **name})

    @property
    def model_input_names(self) -> tuple[str, ...]:
        """What a call with audio and text returns by default."""
        return (*self.feature_extractor.model_input_names, "labels")

    def __call__(
        self,
        audio: Audio | Sequence[Audio] | None = None,
        text: str | Sequence[str] | None = None,
        sampling_rate: int | None = None,
        **audio_options: Any,
    ) -> dict[str, Tensor]:
        """The inputs of a model.

        Args:
            audio: one piece or several. sampling_rate: of arrays.
            text: what is said in it.
            audio_options: of the feature extractor.

        Returns:
            features by their names, and `labels` [b, s], filled up with -100; of text alone
            `input_ids`, filled up with the pad token, and `attention_mask`

        Raises:
            UsageError: neither, or not a text for each piece of audio.
            WorkError: audio that cannot be read.
        """
        if audio is None and text is None:
            raise UsageError("neither audio nor text was given")
        rows = None
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            rows = [self.tokenizer.encode(one) for one in texts]
        if audio is None:
            return self._ids(rows or [])
        found = self.feature_extractor(audio, sampling_rate, **audio_options)
        if rows is not None:
            pieces = len(next(iter(found.values())))
            if len(rows) != pieces:
                raise UsageError(
                    f"there are {len(rows)} texts for {pieces} pieces of audio", where="text"
                )
            found["labels"] = _filled(rows, IGNORED)
        return found

    def _ids(self, rows: list[list[int]]) -> dict[str, Tensor]:
        if not rows:
            raise UsageError("no text was given", where="text")
        mask = _filled([[1] * len(row) for row in rows], 0)
        return {"input_ids": _filled(rows, self.tokenizer.pad_id), "attention_mask": mask}

    def decode(self, ids: Any, **options: Any) -> Any:
        """The text of predictions, as the tokenizer's `decode` gives it."""
        return self.tokenizer.decode(ids, **options)

    def batch_decode(self, sequences: Iterable[Any], **options: Any) -> list[Any]:
        """`decode` of each sequence."""
        return self.tokenizer.batch_decode(sequences, **options)


class WhisperProcessor(SpeechProcessor[WhisperFeatureExtractor, WhisperTokenizer]):
    """Whisper's log-mel features and tokens."""

    extractor_class = WhisperFeatureExtractor
    tokenizer_class = WhisperTokenizer

    def get_decoder_prompt_ids(
        self, task: str | None = None, language: str | None = None, no_timestamps: bool = True
    ) -> list[tuple[int, int]]:
        """As the tokenizer's."""
        return self.tokenizer.get_decoder_prompt_ids(task, language, no_timestamps)

    def get_prompt_ids(self, text: str) -> list[int]:
        """As the tokenizer's."""
        return self.tokenizer.get_prompt_ids(text)


class Wav2Vec2Processor(SpeechProcessor[Wav2Vec2FeatureExtractor, CtcTokenizer]):
    """wav2vec2's waves and letters."""

    extractor_class = Wav2Vec2FeatureExtractor
    tokenizer_class = CtcTokenizer


def _filled(rows: list[list[int]], value: int) -> Tensor:
    out = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    for place, row in enumerate(rows):
        out[place, : len(row)] = torch.tensor(row, dtype=torch.long)
    return out
