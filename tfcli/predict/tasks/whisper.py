"""`automatic-speech-recognition` by Whisper, which writes token by token in windows of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tfcli.checkpoints.beside import load_generation_config
from tfcli.errors import UsageError, WorkError
from tfcli.generation.asked import text_settings
from tfcli.generation.caches import make_cache
from tfcli.generation.keys import GenerationKeys
from tfcli.generation.sampling import greedy
from tfcli.generation.spec import GenerateSpec
from tfcli.generation.speech import Segment, language_heard, transcribe
from tfcli.generation.speech_settings import read_speech_settings
from tfcli.models.configs.whisper import WhisperConfig
from tfcli.models.heads.speech_seq2seq import SpeechSeq2Seq
from tfcli.predict.media import samples_of
from tfcli.predict.options.media import SpeechOptions
from tfcli.predict.task import Sample, Task
from tfcli.processors.audio.speech import WhisperProcessor
from tfcli.processors.audio.whisper_timestamps import without_timestamps
from tfcli.tokenizers.fits import check_fits


class WhisperRecognition(Task[SpeechOptions]):
    """A row has `audio`; where that is an array, also its `sampling_rate`. Recordings are heard one
    by one; one of several windows is written with times, as each window begins at the last."""

    name = "automatic-speech-recognition"
    inputs = ("audio",)
    optional = ("sampling_rate",)
    options_class = SpeechOptions

    @classmethod
    def head(cls, config: Any) -> str:
        return "speech-seq2seq"

    def prepare(self) -> None:
        options, parts = self.options, self.parts
        if options.chunk_length_s is not None:
            raise UsageError(
                "Whisper has windows of its own",
                where="options.chunk_length_s",
                fix="leave it out",
            )
        if options.return_timestamps in ("char", "word"):
            raise UsageError(
                "Whisper says when each part is said",
                where="options.return_timestamps",
                fix="options.return_timestamps: true",
            )
        config = parts.config
        assert isinstance(config, WhisperConfig), "its family has the head"
        self.config = config
        processor = WhisperProcessor.from_pretrained(parts.checkpoint.beside)
        self.extractor, self.tokenizer = processor.feature_extractor, processor.tokenizer.tokenizer
        check_fits(self.tokenizer, config, parts.name)
        said = load_generation_config(parts.checkpoint.beside) or config.extra
        self.speech = read_speech_settings(said, config)
        passed_over = {"forced_decoder_ids", *GenerationKeys.said_of_strategies}
        said = {key: value for key, value in said.items() if key not in passed_over}
        spec = GenerateSpec(model=parts.name, prompt="")
        self.settings = text_settings(spec, said, config, self.tokenizer, parts.console)
        self.speech.chosen(options.language, options.speech_task, timestamps=False)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        wave = samples_of(self.parts, self.extractor, row)
        made = self.extractor(wave, self.extractor.settings.sampling_rate, truncation=False)
        return [Sample({"input_features": made["input_features"][0]})]

    def forward(self, batch: dict[str, Tensor]) -> Sequence[list[Segment]]:
        """What is said in each recording, part by part."""
        return [self._heard(features[None]) for features in batch["input_features"]]

    def _heard(self, features: Tensor) -> list[Segment]:
        model, speech, options = self.parts.model, self.speech, self.options
        assert isinstance(model, SpeechSeq2Seq), "the head"
        times = options.return_timestamps is True or (
            features.shape[-1] > self.config.window_frames
        )
        language, task = speech.chosen(options.language, options.speech_task, timestamps=times)
        known = list(speech.languages.values())
        begin = speech.begin_ids(
            language,
            task,
            timestamps=times,
            detect=lambda: language_heard(model, features, speech.start, known),
        )
        room = self.config.max_position_embeddings - len(begin)
        if room < 1:
            raise WorkError(f"{len(begin)} tokens come first, which leaves no positions")
        length = min(options.max_new_tokens or room, room)
        windows = transcribe(
            model,
            features,
            begin,
            speech=speech,
            settings=self.settings,
            timestamps=times,
            max_new_tokens=length,
            pick=greedy,
            make_cache=lambda: make_cache("dynamic", len(begin) + length, model),
        )
        return [segment for window in windows for segment in window.segments]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[list[Segment]]) -> Any:
        (parts,) = outputs
        text = self._text([token for part in parts for token in part.ids])
        if not self.options.return_timestamps:
            return {"text": text}
        chunks = [
            {"timestamp": [part.start, part.end], "text": self._text(part.ids)} for part in parts
        ]
        return {"text": text, "chunks": chunks}

    def _text(self, ids: list[int]) -> str:
        return without_timestamps(self.tokenizer.decode(ids))
