"""The work of `tfcli generate --audio`: what is said in a recording, written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar

import torch

from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.devices import dtype_name, pick_device
from tfcli.errors import UsageError, WorkError
from tfcli.generation.asked import text_settings
from tfcli.generation.caches import chosen_cache, make_cache
from tfcli.generation.display import Write, writer
from tfcli.generation.keys import GenerationKeys
from tfcli.generation.sampling import greedy, sampler
from tfcli.generation.spec import GenerateResult, GenerateSpec, SpokenPart, shown_part
from tfcli.generation.speech import Segment, Window, language_heard, transcribe
from tfcli.generation.speech_settings import read_speech_settings
from tfcli.generation.tasks import SPOKEN, speech_task
from tfcli.models.configs.wav2vec2 import Wav2Vec2Config
from tfcli.models.configs.whisper import WhisperConfig
from tfcli.models.heads.speech_seq2seq import SpeechSeq2Seq
from tfcli.models.model import Model
from tfcli.processors.audio.ctc_tokenizer import CtcText
from tfcli.processors.audio.speech import Wav2Vec2Processor, WhisperProcessor
from tfcli.processors.audio.whisper_timestamps import without_timestamps
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready
from tfcli.recipe.job import Job
from tfcli.tokenizers.fits import check_fits


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording, and how it is known."""

    text: str
    token_ids: list[int]
    begin: list[int] | None = None
    segments: list[SpokenPart] | None = None
    language: str | None = None
    ended: bool = True


def run_speech(spec: GenerateSpec, job: Job) -> GenerateResult:
    """Write down what is said in a recording.

    Raises:
        UsageError: a model that hears nothing, or a language, a task or times that it has not.
        WorkError: audio or files of the checkpoint that cannot be read.
    """
    device = pick_device(spec.device)
    checkpoint = load_in(open_model(spec.model), spec.load_in, job.console)
    for note in checkpoint.notes:
        job.console.note(note)
    task = speech_task(checkpoint.model_config)
    make = _Whisper if task == SPOKEN else _Letters
    work: _Whisper | _Letters = make(spec, job, checkpoint)
    job.has_read(*filter(None, [spec.audio]))
    model = load_ready(
        checkpoint,
        job.console,
        task=task,
        dtype=spec.dtype,
        device=device,
        attention=spec.attention,
        keep_packed=spec.load_in is not None,
    )
    began = perf_counter()
    made = work.transcript(model)
    seconds = perf_counter() - began
    return GenerateResult(
        model=spec.model,
        task=task,
        prompt=None,
        chat=False,
        system=None,
        prompt_ids=made.begin,
        token_ids=made.token_ids,
        text=made.text,
        finish_reason="stop" if made.ended else "length",
        audio=spec.audio,
        language=made.language,
        timestamps=spec.timestamps,
        segments=made.segments,
        generation=work.said,
        temperature=spec.temperature or 0.0,
        echo=False,
        seed=spec.seed,
        load_in=spec.load_in,
        dtype=dtype_name(model.dtype),
        device=device.type,
        cache=work.cache,
        seconds=seconds,
        tokens_per_second=len(made.token_ids) / seconds,
    )


class _Whisper:
    """A transcript by Whisper. Made before weights are read: everything is checked by then."""

    def __init__(self, spec: GenerateSpec, job: Job, checkpoint: Checkpoint) -> None:
        config = checkpoint.model_config
        assert isinstance(config, WhisperConfig) and spec.audio is not None
        self.spec, self.job, self.config = spec, job, config
        folder = checkpoint.beside
        processor = WhisperProcessor.from_pretrained(folder)
        self.tokenizer = processor.tokenizer.tokenizer
        check_fits(self.tokenizer, config, spec.model)
        extractor = processor.feature_extractor.settings
        for name, found, wanted in (
            ("mel filters", extractor.feature_size, config.num_mel_bins),
            ("frames a window", extractor.nb_max_frames, config.window_frames),
        ):
            if found != wanted:
                raise WorkError(
                    f"the feature extractor has {found:,} {name}, but the model takes {wanted:,}",
                    where=spec.model,
                    fix="preprocessor_config.json and the weights belong to different models",
                )
        said = load_generation_config(folder) or config.extra
        self.cache = chosen_cache(spec.cache, said)
        self.speech = read_speech_settings(said, config)
        passed_over = {"forced_decoder_ids", *GenerationKeys.said_of_strategies}
        said = {key: value for key, value in said.items() if key not in passed_over}
        self.settings = text_settings(spec, said, config, self.tokenizer, job.console)
        if self.speech.ignored:
            job.console.warn(
                f"generation_config.json asks for what is not followed: "
                f"{', '.join(self.speech.ignored)}"
            )
        features = processor.feature_extractor(spec.audio, truncation=False)["input_features"]
        self.features = features
        self.timestamps = spec.timestamps or features.shape[-1] > config.window_frames
        self.language, self.task = self.speech.chosen(
            spec.language, spec.speech_task, timestamps=self.timestamps
        )

    @property
    def said(self) -> dict[str, Any]:
        return dict(self.settings.said)

    def transcript(self, model: Model) -> Transcript:
        """What is said, in all windows."""
        assert isinstance(model, SpeechSeq2Seq)
        speech, limit = self.speech, self.config.max_position_embeddings
        begin = speech.begin_ids(
            self.language,
            self.task,
            timestamps=self.timestamps,
            detect=lambda: language_heard(
                model, self.features, speech.start, list(speech.languages.values())
            ),
        )
        room = limit - len(begin)
        if room < 1:
            raise WorkError(f"{len(begin)} tokens come first, and there are {limit} positions")
        length = min(self.spec.max_new_tokens or room, room)
        draw = self.settings.draw
        windows = transcribe(
            model,
            self.features,
            begin,
            speech=speech,
            settings=self.settings,
            timestamps=self.timestamps,
            max_new_tokens=length,
            pick=greedy if draw is None else sampler(draw, [self.spec.seed]),
            make_cache=lambda: make_cache(self.cache, len(begin) + length, model),
        )
        found = list(self._shown(windows))
        segments = [segment for window in found for segment in window.segments]
        ids = [token for segment in segments for token in segment.ids]
        return Transcript(
            text=self._text(ids),
            token_ids=ids,
            begin=begin,
            segments=[self._part(each) for each in segments] if self.timestamps else None,
            language=speech.language_of(begin),
            ended=all(window.ended for window in found),
        )

    def _shown(self, windows: Iterable[Window]) -> Iterator[Window]:
        """The same, each written to standard output as soon as it is there."""
        write: Write | None = None if self.job.out is None else writer(self.job.out)
        for window in windows:
            for segment in window.segments if write is not None else ():
                assert write is not None
                write(shown_part(self._part(segment), self.spec.timestamps))
            yield window
        if write is not None and not self.spec.timestamps:
            write("\n")

    def _part(self, segment: Segment) -> SpokenPart:
        return SpokenPart(start=segment.start, end=segment.end, text=self._text(segment.ids))

    def _text(self, ids: list[int]) -> str:
        return without_timestamps(self.tokenizer.decode(ids))


UNUSED = (
    *("language", "speech_task", "max_new_tokens", "cache", "seed", "bad_words", "sequence_bias"),
    *GenerationKeys.said_by_file,
)
"""Keys of how tokens follow one another, which letters of moments do not."""


class _Letters:
    """A transcript by connectionist temporal classification: the likeliest letter each moment."""

    said: ClassVar[dict[str, Any]] = {}
    cache: ClassVar[str] = "none"

    def __init__(self, spec: GenerateSpec, job: Job, checkpoint: Checkpoint) -> None:
        config = checkpoint.model_config
        assert isinstance(config, Wav2Vec2Config) and spec.audio is not None
        for key in UNUSED:
            if getattr(spec, key) != GenerateSpec.model_fields[key].default:
                raise UsageError(
                    f"has no effect: {config.model_type} predicts each moment by itself",
                    where=key,
                    fix="leave it out",
                )
        self.spec, self.job, self.config = spec, job, config
        processor = Wav2Vec2Processor.from_pretrained(checkpoint.beside)
        self.tokenizer = processor.tokenizer
        if self.tokenizer.pad_id != config.pad_token_id:
            raise WorkError(
                f"the tokenizer's blank is {self.tokenizer.pad_id}, but the model's is "
                f"{config.pad_token_id}",
                where=spec.model,
                fix="the tokenizer and the weights belong to different models",
            )
        self.rate = processor.feature_extractor.settings.sampling_rate
        self.wave = processor.feature_extractor(spec.audio)["input_values"]
        if config.states_of(self.wave.shape[1]) < 1:
            raise WorkError(f"{self.wave.shape[1]} samples are too few", where=spec.audio)

    def transcript(self, model: Model) -> Transcript:
        """What is said, in one pass."""
        with torch.inference_mode():
            logits = model(input_values=self.wave.to(model.device)).logits
        if not bool(logits.isfinite().all()):
            raise WorkError("the model's output is not finite", where=self.spec.model)
        ids = logits[0].argmax(-1).tolist()
        found = self.tokenizer.decode(ids, output_word_offsets=True)
        assert isinstance(found, CtcText) and found.word_offsets is not None
        step = self.config.samples_per_state / self.rate
        words = [
            SpokenPart(
                start=word["start_offset"] * step, end=word["end_offset"] * step, text=word["word"]
            )
            for word in found.word_offsets
        ]
        if self.job.out is not None:
            lines = "".join(shown_part(word, True) for word in words)
            writer(self.job.out)(lines if self.spec.timestamps else f"{found.text}\n")
        return Transcript(found.text, ids, segments=words if self.spec.timestamps else None)
