"""How a checkpoint of Whisper says that its texts begin: language, task and times.

The keys are those of generation_config.json, and they are followed as transformers follows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tfcli.errors import UsageError, WorkError, hint
from tfcli.generation.values import WHERE
from tfcli.models.configs.whisper import WhisperConfig
from tfcli.processors.audio.whisper_languages import language_code

IGNORED = {
    "condition_on_prev_tokens": (False, None),
    "compression_ratio_threshold": (None,),
    **dict.fromkeys(("num_beams", "guidance_scale"), (1, None)),
    **dict.fromkeys(("watermarking_config", "dola_layers"), (None,)),
    "penalty_alpha": (0, None),
}
"""Keys that are not followed in transcripts, with the values that change nothing."""


@dataclass(frozen=True)
class SpeechSettings:
    """What generation_config.json says of transcripts.

    Args:
        start: the first token of all.
        languages: code -> id of its token; empty where languages are neither named nor detected.
        tasks: name -> id of its token.
        language, task: what is taken where the user says nothing; None: not said.
        forced: tokens after the first where neither a language nor a task is said; None is a
            language that is to be detected.
        no_timestamps: id of the token that says that there are no times. The next one is 0.00.
        max_initial_timestamp: steps of 0.02 s that the first time may have at most.
        english_only: there is no choice of language and task.
        no_speech_threshold, logprob_threshold: a window that is less probable than the second
            (a mean logarithm), and silence by more than the first, is passed over.
        ignored: what the file asks for and is not followed.
    """

    start: int
    languages: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    language: str | None = None
    task: str | None = None
    forced: tuple[int | None, ...] = ()
    no_timestamps: int | None = None
    max_initial_timestamp: int | None = None
    english_only: bool = False
    no_speech_threshold: float | None = None
    logprob_threshold: float | None = None
    ignored: tuple[str, ...] = ()

    @property
    def first_time(self) -> int | None:
        """The id of 0.00, from which on all ids are times."""
        return None if self.no_timestamps is None else self.no_timestamps + 1

    def chosen(
        self, language: str | None, task: str | None, *, timestamps: bool
    ) -> tuple[str | None, str | None]:
        """The language, as a code, and the task that the user and the file ask for.

        Raises:
            UsageError: a language or a task that the checkpoint has no token for, or times that it
                cannot write.
        """
        if timestamps and self.no_timestamps is None:
            raise UsageError(
                "the model writes no timestamps: no_timestamps_token_id is not said",
                where=WHERE,
                fix="transcribe audio of one window, without --timestamps",
            )
        for name, value in (("language", language), ("speech_task", task)):
            if self.english_only and value is not None:
                raise UsageError("the model transcribes English and nothing else", where=name)
        language = self.language if language is None else language
        task = self.task if task is None else task
        code = None if language is None else language_code(language)
        for name, wanted, known in (
            ("language", code, self.languages),
            ("speech_task", task, self.tasks),
        ):
            if wanted is not None and wanted not in known:
                raise UsageError(
                    f"the model has no token for {wanted}",
                    where=name,
                    fix=hint(wanted, known) if known else f"{WHERE} names none",
                )
        return code, task

    def begin_ids(
        self,
        language: str | None,
        task: str | None,
        *,
        timestamps: bool,
        detect: Callable[[], int],
    ) -> list[int]:
        """What the decoder sees before the first token of a text.

        Args:
            language, task: from `chosen`.
            timestamps: whether times are written.
            detect: gives the id of the language that is heard.
        """
        begin: list[int | None] = [self.start]
        if language is None and task is None:
            begin += self.forced
        if language is not None:
            begin[1:2] = [self.languages[language]]
        elif self.languages and begin[1:2] in ([], [None]):
            begin[1:2] = [detect()]
        if task is not None:
            begin.append(self.tasks[task])
        elif language is not None and "transcribe" in self.tasks:
            begin.append(self.tasks["transcribe"])
        if self.no_timestamps is not None:
            if begin[-1] == self.no_timestamps:
                begin.pop()
            if not timestamps:
                begin.append(self.no_timestamps)
        return [token for token in begin if token is not None]

    def language_of(self, begin: list[int]) -> str | None:
        """The code of the language that a text begins with."""
        codes = {index: code for code, index in self.languages.items()}
        return next((codes[token] for token in begin if token in codes), None)


def read_speech_settings(said: Mapping[str, Any], config: WhisperConfig) -> SpeechSettings:
    """The settings of a checkpoint.

    Args:
        said: the content of generation_config.json, or of config.json where there is none.
        config: of the model.

    Raises:
        WorkError: a value that cannot be; names its key.
    """
    read = _Reader(said, config.vocab_size)
    start = read.id("decoder_start_token_id")
    start = config.decoder_start_token_id if start is None else start
    if start is None:
        raise WorkError("decoder_start_token_id is not said", where=WHERE)
    languages = {
        token.removeprefix("<|").removesuffix("|>"): index
        for token, index in read.ids("lang_to_id").items()
    }
    return SpeechSettings(
        start=start,
        languages=languages,
        tasks=read.ids("task_to_id"),
        language=read.text("language"),
        task=read.text("task"),
        forced=read.forced(config.extra),
        no_timestamps=read.id("no_timestamps_token_id"),
        max_initial_timestamp=read.count("max_initial_timestamp_index"),
        english_only=said.get("is_multilingual") is False,
        no_speech_threshold=read.number("no_speech_threshold"),
        logprob_threshold=read.number("logprob_threshold"),
        ignored=tuple(f"{key} {said[key]}" for key in IGNORED if said.get(key) not in IGNORED[key]),
    )


@dataclass(frozen=True)
class _Reader:
    """Values of a file, each of the type that it must have."""

    said: Mapping[str, Any]
    limit: int

    def _is_id(self, value: Any) -> bool:
        return type(value) is int and 0 <= value < self.limit

    def _of(self, key: str, what: str, holds: Callable[[Any], bool]) -> Any:
        value = self.said.get(key)
        if value is not None and not holds(value):
            raise WorkError(f"{key}: must be {what}, not {str(value)[:60]}", where=WHERE)
        return value

    def id(self, key: str) -> int | None:
        found: int | None = self._of(key, "a token id of the model", self._is_id)
        return found

    def count(self, key: str) -> int | None:
        found: int | None = self._of(
            key, "a whole number from 0", lambda value: type(value) is int and value >= 0
        )
        return found

    def number(self, key: str) -> float | None:
        found = self._of(key, "a number", lambda value: type(value) in (int, float))
        return None if found is None else float(found)

    def text(self, key: str) -> str | None:
        found: str | None = self._of(key, "a text", lambda value: isinstance(value, str))
        return found

    def ids(self, key: str) -> dict[str, int]:
        """Ids by names."""
        found = self._of(
            key,
            "an object of token ids",
            lambda value: isinstance(value, dict) and all(map(self._is_id, value.values())),
        )
        return found or {}

    def forced(self, config: Mapping[str, Any]) -> tuple[int | None, ...]:
        """The tokens of forced_decoder_ids, which earlier checkpoints have in config.json."""
        key = "forced_decoder_ids"
        pairs = self.said.get(key) or config.get(key) or []
        good = isinstance(pairs, list) and all(
            isinstance(pair, list)
            and len(pair) == 2
            and pair[0] == place
            and (pair[1] is None or self._is_id(pair[1]))
            for place, pair in enumerate(pairs, 1)
        )
        if not good:
            raise WorkError(
                f"{key}: must be pairs of a place, counted from 1, and a token id", where=WHERE
            )
        return tuple(token for _, token in pairs)
