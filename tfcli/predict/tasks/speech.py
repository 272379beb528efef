"""`automatic-speech-recognition` by models that predict a letter each moment (CTC)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.models.configs.wav2vec2 import Wav2Vec2Config
from tfcli.predict.heads import require_head
from tfcli.predict.media import samples_of
from tfcli.predict.options.media import SpeechOptions
from tfcli.predict.task import Sample, Task
from tfcli.predict.tasks.whisper import WhisperRecognition
from tfcli.processors.audio.ctc_tokenizer import CtcText
from tfcli.processors.audio.speech import Wav2Vec2Processor

STRIDE_SHARE = 6
"""A chunk shares this part of itself with each of those beside it, where nothing is said."""


class SpeechRecognition(Task[SpeechOptions]):
    """A row has `audio`; where that is an array, also its `sampling_rate`. Chunks are samples of
    their own; of what two share, each gives the half that is further from its end."""

    name = "automatic-speech-recognition"
    inputs = ("audio",)
    optional = ("sampling_rate",)
    options_class = SpeechOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, "ctc", "speech-seq2seq")

    @classmethod
    def of(cls, config: BaseConfig) -> type[Task[Any]]:
        return WhisperRecognition if cls.head(config) != "ctc" else cls

    def prepare(self) -> None:
        config = self.parts.config
        assert isinstance(config, Wav2Vec2Config), "its families have the head"
        processor = Wav2Vec2Processor.from_pretrained(self.parts.checkpoint.beside)
        for key in ("language", "speech_task", "max_new_tokens"):
            if getattr(self.options, key) is not None:
                raise UsageError(
                    f"has no effect: {config.model_type} predicts each moment by itself",
                    where=f"options.{key}",
                    fix="leave it out",
                )
        if self.options.return_timestamps is True:
            raise UsageError(
                "CTC says when each char or word is said",
                where="options.return_timestamps",
                fix="options.return_timestamps: word",
            )
        self.extractor, self.letters = processor.feature_extractor, processor.tokenizer
        self.rate = self.extractor.settings.sampling_rate
        self.step = config.samples_per_state
        self.chunk = self._chunk()

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        wave = samples_of(self.parts, self.extractor, row)
        samples = []
        for begin, end, left, right in self._chunks(len(wave)):
            made = self.extractor(wave[begin:end], self.rate)
            states = round((end - begin) / self.step)
            cut = [round(side / (end - begin) * states) for side in (left, right)]
            about = None if self.options.chunk_length_s is None else (cut[0], states - cut[1])
            samples.append(Sample({name: each[0] for name, each in made.items()}, about))
        return samples

    def _chunks(self, count: int) -> Iterator[tuple[int, int, int, int]]:
        """The first sample of each chunk, the one after its last, and those it leaves to others."""
        if self.chunk is None:
            yield 0, count, 0, 0
            return
        whole, left, right = self.chunk
        for begin in range(0, count, whole - left - right):
            end, last = min(begin + whole, count), begin + whole >= count
            mine = 0 if begin == 0 else left
            if end - begin > mine:
                yield begin, end, mine, 0 if last else right
            if last:
                return

    def _chunk(self) -> tuple[int, int, int] | None:
        """Samples of a chunk, and of those that it shares on either side; None: there is one."""
        length = self.options.chunk_length_s
        if length is None:
            return None
        stride = self.options.stride_length_s
        if not isinstance(stride, tuple):
            side = length / STRIDE_SHARE if stride is None else stride
            stride = (side, side)
        whole, left, right = (self._aligned(seconds) for seconds in (length, *stride))
        if whole <= left + right:
            raise UsageError(
                "a chunk is no longer than what it shares with others",
                where="options.stride_length_s",
                fix="give a smaller one",
            )
        return whole, left, right

    def _aligned(self, seconds: float) -> int:
        """Samples of so many seconds, a whole number of the model's states."""
        return int(round(seconds * self.rate / self.step) * self.step)

    def forward(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        """The likeliest letter of each moment."""
        return [logits.argmax(-1) for logits in super().forward(batch)]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        ids: list[int] = []
        for sample, letters in zip(samples, outputs, strict=True):
            first, stop = (0, len(letters)) if sample.about is None else sample.about
            ids += letters[first:stop].tolist()
        kind = self.options.return_timestamps
        found = self.letters.decode(ids, output_char_offsets=True, output_word_offsets=True)
        assert isinstance(found, CtcText), "offsets were asked for"
        if not kind:
            return {"text": found.text}
        parts = found.word_offsets if kind == "word" else found.char_offsets
        return {
            "text": found.text,
            "chunks": [
                {"text": part[str(kind)], "timestamp": [self._time(part, at) for at in _ENDS]}
                for part in parts or ()
            ],
        }

    def _time(self, part: Mapping[str, Any], end: str) -> float:
        seconds: float = part[end] * self.step / self.rate
        return seconds


_ENDS = ("start_offset", "end_offset")
