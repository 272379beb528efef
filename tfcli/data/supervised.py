"""Samples as token ids, and which of these are to be learned.

A text is tokenized once, as a whole: where two texts meet, a tokenizer may well make one token of
both, and the model will read it so. An id is learned when one of its characters is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from tfcli.data.formats.sample import Chat, Pair, Sample, Text
from tfcli.data.tokens import framed
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.chat import (
    Rendered,
    encode_rendered,
    in_spans,
    render_chat,
    written_special_tokens,
)
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.chat_turns import render_turns, special_texts
from tfcli.tokenizers.load import Tokenizer

TrainOn = Literal["assistant", "all"]


@dataclass(frozen=True)
class Tokens:
    """A sample as a model reads it.

    Args:
        ids: with the special tokens that belong to it.
        learned: 1 for each id that is to be learned, else 0.
        media: how many of the sample's media are in it, the first ones.
        through: how many of the first ids end with the last of these.
    """

    ids: list[int]
    learned: list[int]
    media: int = 0
    through: int = 0


class Encoder:
    """Makes ids of samples.

    Class attributes:
        takes_media: conversations may have media in them.

    Args:
        tokenizer: of the model.
        folder: of the tokenizer, which may have chat templates.
        train_on: learn what the assistant wrote and what completes a prompt, or all.
        now: the date that templates see.
    """

    takes_media: ClassVar[bool] = False

    def __init__(
        self,
        tokenizer: Tokenizer,
        folder: Path,
        train_on: TrainOn = "assistant",
        now: datetime | None = None,
    ) -> None:
        self.tokenizer, self.train_on = tokenizer, train_on
        self.templates = find_templates(folder)
        self.add_bos = declared_bos(folder)
        self.now = now or datetime.now()
        self._special = written_special_tokens(tokenizer)
        self._stops = special_texts(tokenizer)
        self._stop_ids = {tokenizer.backend.token_to_id(text) for text in self._stops}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the ids of a sample, in plain types: equal ones give equal ids."""
        dated = any("strftime_now" in template for template in self.templates.values())
        return {
            "tokenizer": self.tokenizer.fingerprint,
            "special": dict(self.tokenizer.special_ids),
            "templates": dict(self.templates),
            "add_bos": self.add_bos,
            "train_on": self.train_on,
            "date": self.now.date().isoformat() if dated else None,
        }

    def encode(self, sample: Sample, where: str) -> list[Tokens]:
        """The ids of a sample: one piece, or one for each turn where the chat template writes
        earlier turns in another way (`chat_turns`).

        Args:
            where: file and line, for errors.

        Raises:
            UsageError: a conversation, and the model has no chat template.
            WorkError: a conversation that the template does not take, or one in which the
                assistant's parts are not known; names file and line.
        """
        if isinstance(sample, Chat) and sample.media:
            self.check_media(sample, where)
        if isinstance(sample, Chat) and (self.templates or sample.otherwise is None):
            return self._chat(sample, where)
        if isinstance(sample, Chat):
            assert sample.otherwise is not None
            sample = sample.otherwise
        return [self._text(sample)]

    def check_media(self, chat: Chat, where: str) -> None:
        """Refuse media that the model does not take: here, all.

        Raises:
            WorkError: naming the row.
        """
        raise WorkError(
            f"a message has a part of type {chat.media[0].kind!r}, and the model reads texts alone",
            where=where,
            fix="leave the row out, or take a model for it",
        )

    def ends(self, tokens: Tokens) -> bool:
        """Whether the last id that is learned is a special token, at which a model stops."""
        last = next((n for n in reversed(range(len(tokens.ids))) if tokens.learned[n]), None)
        return last is not None and tokens.ids[last] in self._stop_ids

    def _text(self, sample: Text | Pair) -> Tokens:
        prompt, rest = (
            ("", sample.text) if isinstance(sample, Text) else (sample.prompt, sample.completion)
        )
        found = self.tokenizer.batch([prompt + rest], return_offsets=True)
        ids, offsets = found.ids[0], (found.offsets or [[]])[0]
        whole = framed(ids, self.tokenizer, True, last=True)
        if isinstance(sample, Text) or self.train_on == "all":
            return Tokens(whole, [1] * len(whole))
        span = ((len(prompt), len(prompt) + len(rest)),)
        learned = [in_spans(first, last, span) for first, last in offsets]
        learned += [0] * (len(whole) - len(ids))
        if whole and whole[-1] == self.tokenizer.eos_id:
            learned[-1] = 1
        return Tokens(whole, learned)

    def _chat(self, chat: Chat, where: str) -> list[Tokens]:
        try:
            texts = self._rendered(chat)
        except WorkError as error:
            place = "" if error.where is None else f", {error.where}"
            raise WorkError(error.what, where=f"{where}{place}", fix=error.fix) from error
        except UsageError as error:
            raise UsageError(error.what, where=where, fix=error.fix) from error
        return self.encoded(texts, chat, where)

    def encoded(self, texts: Sequence[Rendered], chat: Chat, where: str) -> list[Tokens]:
        """The ids of a conversation's texts.

        Args:
            texts: the whole conversation, or its beginnings.
            chat: the conversation.
            where: its row, for errors.
        """
        return [self.ids_of(text) for text in texts]

    def _rendered(self, chat: Chat) -> list[Rendered]:
        template = choose_template(self.templates, tools=chat.tools is not None)

        def render(
            messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
        ) -> Rendered:
            return self.render(
                template,
                messages,
                tools=chat.tools,
                add_generation_prompt=add_generation_prompt,
            )

        if self.train_on == "all":
            return [render(chat.messages)]
        return render_turns(render, chat.messages, self._stops)

    def render(
        self, template: str, messages: Sequence[Mapping[str, Any]], **options: Any
    ) -> Rendered:
        """The text of a conversation.

        Args:
            template: the Jinja source.
            messages: the conversation.
            options: others of `render_chat`.
        """
        special = self._special
        return render_chat(template, messages, special_tokens=special, now=self.now, **options)

    def ids_of(self, text: Rendered) -> Tokens:
        """The ids of a rendered conversation."""
        found = encode_rendered(self.tokenizer, text, add_bos=self.add_bos)
        if self.train_on == "all":
            return Tokens(found.ids, [1] * len(found.ids))
        return Tokens(found.ids, found.assistant_mask or [0] * len(found.ids))
