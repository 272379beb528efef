"""Whisper's tokenizer: text between tokens for the language, the task and times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError, hint
from tfcli.files import write_json
from tfcli.processors.audio.whisper_languages import LANGUAGES, language_code
from tfcli.processors.audio.whisper_timestamps import (
    PRECISION,
    annotated,
    segments,
    without_timestamps,
)
from tfcli.tokenizers.declared import read_declared
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.tokenizers.save import save_tokenizer_json

TASKS = ("transcribe", "translate")
START, PREVIOUS, NO_TIMESTAMPS = "<|startoftranscript|>", "<|startofprev|>", "<|notimestamps|>"

Ids = Sequence[int] | Tensor


@dataclass(frozen=True)
class WhisperTokenizer:
    """A tokenizer, and what it puts before a text.

    Args:
        tokenizer: of the checkpoint's files.
        language: code of the language that labels are said to have; None: no token for it.
        task: `transcribe` or `translate`; None: no token for it.
        predict_timestamps: labels have timestamps, so there is no `<|notimestamps|>`.
    """

    tokenizer: Tokenizer
    language: str | None = None
    task: str | None = None
    predict_timestamps: bool = False

    @classmethod
    def from_pretrained(cls, folder: Path | str, **prefix: Any) -> Self:
        """Read a folder with a tokenizer.json, or with vocab.json and merges.txt.

        Args:
            folder: of a checkpoint.
            prefix: `language`, `task` and `predict_timestamps`; else as tokenizer_config.json says.

        Raises:
            WorkError: files that cannot be read, or without Whisper's tokens.
            UsageError: an unknown language or task.
        """
        folder = Path(folder)
        declared = read_declared(folder)
        said = {key: declared.config.get(key) for key in ("language", "task")}
        for key, value in said.items():
            if value is not None and not isinstance(value, str):
                raise WorkError(f"{key} must be a text", where=declared.config_file)
        said["predict_timestamps"] = declared.flag("predict_timestamps", False)
        found = cls(load_tokenizer(folder)).with_prefix(**{**said, **prefix})
        for token in (START, NO_TIMESTAMPS):
            found.token_id(token)
        if "eos_token" not in found.tokenizer.special_ids:
            raise WorkError("eos_token must not be null", where=declared.config_file)
        return found

    def save_pretrained(self, folder: Path | str) -> None:
        """Write tokenizer.json and tokenizer_config.json."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer_json(self.tokenizer, folder)
        path = folder / "tokenizer_config.json"
        added = sorted(self.tokenizer.backend.get_added_tokens_decoder().items())
        roles = set(self.tokenizer.special_ids.values())
        own = {
            # transformers takes what follows the last of these for the first timestamp.
            "additional_special_tokens": [
                token.content for index, token in added if token.special and index not in roles
            ],
            "tokenizer_class": "WhisperTokenizer",
            "language": self.language,
            "task": self.task,
            "predict_timestamps": self.predict_timestamps,
        }
        write_json(path, {**read_json(path), **own})

    def with_prefix(
        self,
        language: str | None = None,
        task: str | None = None,
        predict_timestamps: bool | None = None,
    ) -> Self:
        """A tokenizer that puts other tokens before a text; None leaves one as it is.

        Raises:
            UsageError: an unknown language or task, or one that this vocabulary lacks.
        """
        if task is not None and task not in TASKS:
            raise UsageError(
                f"Whisper has no task {task[:40]!r}", where="task", fix=hint(task, TASKS)
            )
        code = self.language if language is None else language_code(language)
        if code is not None and code not in self.language_ids:
            raise UsageError(
                f"this vocabulary has no token for {LANGUAGES[code]}",
                where="language",
                fix="a checkpoint for English alone takes no language",
            )
        return replace(
            self,
            language=code,
            task=self.task if task is None else task,
            predict_timestamps=(
                self.predict_timestamps if predict_timestamps is None else predict_timestamps
            ),
        )

    def token_id(self, token: str) -> int:
        """The id of a token such as `<|startoftranscript|>`.

        Raises:
            WorkError: the vocabulary lacks it.
        """
        index = self.tokenizer.backend.token_to_id(token)
        if index is None:
            raise WorkError(
                f"the vocabulary has no {token}",
                where=self.tokenizer.file,
                fix="it is not the tokenizer of a Whisper checkpoint",
            )
        return index

    @cached_property
    def language_ids(self) -> dict[str, int]:
        """Code -> id of the languages that the vocabulary has tokens for."""
        found = {code: self.tokenizer.backend.token_to_id(f"<|{code}|>") for code in LANGUAGES}
        return {code: index for code, index in found.items() if index is not None}

    @property
    def eos_id(self) -> int:
        """The id that ends a text."""
        return self.tokenizer.special_ids["eos_token"]

    @property
    def pad_id(self) -> int:
        """The id that fills up labels."""
        return self.eos_id if self.tokenizer.pad_id is None else self.tokenizer.pad_id

    @cached_property
    def timestamp_begin(self) -> int:
        """The id of `<|0.00|>`, whether or not the vocabulary names it."""
        return self.token_id(NO_TIMESTAMPS) + 1

    @property
    def prefix_ids(self) -> list[int]:
        """The ids before a text: `<|startoftranscript|>`, language, task, `<|notimestamps|>`."""
        ids = [self.token_id(START)]
        if self.language is not None:
            ids.append(self.language_ids[self.language])
        if self.task is not None:
            ids.append(self.token_id(f"<|{self.task}|>"))
        if not self.predict_timestamps:
            ids.append(self.token_id(NO_TIMESTAMPS))
        return ids

    def get_decoder_prompt_ids(
        self, task: str | None = None, language: str | None = None, no_timestamps: bool = True
    ) -> list[tuple[int, int]]:
        """Positions after the first token, and the ids that generation is forced to begin with."""
        prefix = self.with_prefix(language, task, not no_timestamps).prefix_ids
        return list(enumerate(prefix))[1:]

    def get_prompt_ids(self, text: str) -> list[int]:
        """What was said before, for generation to go on from: `<|startofprev|>` and the text.

        Raises:
            UsageError: a text with special tokens in it.
        """
        ids = self.tokenizer.encode(" " + text.strip(), add_special_tokens=False)
        special = next((index for index in ids if index >= self.eos_id), None)
        if special is not None:
            token = self.tokenizer.backend.id_to_token(special)
            raise UsageError(f"a prompt cannot have the special token {token}", where="text")
        return [self.token_id(PREVIOUS), *ids]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a label: the prefix, the text, and its end."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return [*self.prefix_ids, *ids, self.eos_id] if add_special_tokens else ids

    def decode(
        self,
        ids: Ids,
        *,
        skip_special_tokens: bool = False,
        decode_with_timestamps: bool = False,
        output_offsets: bool = False,
        time_precision: float = PRECISION,
    ) -> str | dict[str, Any]:
        """The text of ids.

        Args:
            ids: [n], as generated.
            skip_special_tokens: leave out special tokens, and a prompt before them.
            decode_with_timestamps: times stand in the text as `<|1.08|>`; else they are left out.
            output_offsets: also say when each part was said, as `segments` does.
            time_precision: seconds of a timestamp's step.

        Returns:
            the text; with `output_offsets` a dictionary of `text` and `offsets`
        """
        listed = [int(index) for index in (ids.tolist() if isinstance(ids, Tensor) else ids)]
        kept = self._without_prompt(listed) if skip_special_tokens else listed

        def decoded(part: list[int]) -> str:
            return self.tokenizer.decode(part, skip_special_tokens)

        if decode_with_timestamps:
            text = annotated(kept, self.timestamp_begin, decoded, time_precision)
        else:
            text = without_timestamps(decoded(kept))
        if not output_offsets:
            return text

        def plain(part: list[int]) -> str:
            return self.tokenizer.decode(part, skip_special_tokens=False)

        offsets = segments(listed, self.timestamp_begin, plain, time_precision)
        return {"text": text, "offsets": offsets}

    def batch_decode(self, sequences: Iterable[Ids], **options: Any) -> list[str | dict[str, Any]]:
        """`decode` of each sequence."""
        return [self.decode(ids, **options) for ids in sequences]

    def _without_prompt(self, ids: list[int]) -> list[int]:
        """Ids from `<|startoftranscript|>` on, where a prompt stands before it."""
        if not ids or ids[0] != self.tokenizer.backend.token_to_id(PREVIOUS):
            return ids
        start = self.token_id(START)
        return ids[ids.index(start) :] if start in ids else []
