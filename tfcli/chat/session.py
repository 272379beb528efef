"""A conversation with a loaded model. What was read in earlier turns is not read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.errors import UsageError
from tfcli.generation.media import LOOKS, Prompt, read_conversation
from tfcli.generation.prepared import make_reader
from tfcli.generation.readers import TextReader
from tfcli.generation.settings import TextSettings
from tfcli.generation.tasks import decoding, room_after
from tfcli.generation.writing import Text
from tfcli.models.model import Model
from tfcli.tokenizers.chat import encode_chat, render_chat, written_special_tokens
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.load import Tokenizer

Message = dict[str, Any]


@dataclass
class Conversation:
    """What was said, and how the model's template writes it down.

    Args:
        checkpoint: of the model.
        tokenizer: of the model.
        task: see `generation.tasks.text_task`.
        tools: schemas of functions that the model may call.
        messages: each with a role and a content.
        images: files that belong to the next message.
    """

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    task: str
    tools: Sequence[Mapping[str, Any]] = ()
    messages: list[Message] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        folder = self.checkpoint.beside
        templates = find_templates(folder)
        if not templates:
            raise UsageError(
                "the model has no chat template, so it was not made for conversations",
                where=str(self.checkpoint.path),
                fix="tfcli generate goes on from a text",
            )
        self.template = choose_template(templates, tools=bool(self.tools))
        self._bos = declared_bos(folder)

    def say(self, text: str) -> None:
        """Add a message of the user, with the images that were given for it."""
        content: Any = text
        if self.images:
            media = [{"type": "image", "path": path} for path in self.images]
            content = [*media, {"type": "text", "text": text}]
        self.messages.append({"role": "user", "content": content})
        self.images = []

    def set_system(self, text: str | None) -> None:
        """Put a system message first, or take it away."""
        self.messages = [each for each in self.messages if each["role"] != "system"]
        if text:
            self.messages.insert(0, {"role": "system", "content": text})

    def add_image(self, path: str) -> None:
        """Give an image for the next message.

        Raises:
            UsageError: the model looks at none, or there is no such file.
        """
        if self.task != LOOKS:
            raise UsageError("the model reads text alone", where="/image")
        if not Path(path).is_file():
            raise UsageError("there is no such file", where=path)
        self.images.append(path)

    def prompt(self) -> Prompt:
        """What the model reads to answer.

        Raises:
            UsageError, WorkError: as `tokenizers.chat.encode_chat`.
        """
        if any(isinstance(each["content"], list) for each in self.messages):
            return read_conversation(self.checkpoint, self.messages)
        encoded = encode_chat(
            self.tokenizer,
            self.messages,
            template=self.template,
            add_bos=self._bos,
            add_generation_prompt=True,
            tools=self.tools or None,
        )
        return Prompt("", encoded.ids)

    def rendered(self) -> str:
        """The text that the template makes of it."""
        return render_chat(
            self.template,
            self.messages,
            special_tokens=written_special_tokens(self.tokenizer),
            add_generation_prompt=True,
            tools=self.tools or None,
        ).text


@dataclass
class Talking:
    """A model that answers in a conversation.

    Args:
        model: in eval mode.
        conversation: that it goes on with.
        max_new_tokens: of an answer.
        cache: one of `generation.caches.CACHES`.

    Attributes:
        read_tokens: tokens of prompts that the model has read.
        new_tokens: tokens of its answers.
        turns: answers.
        seconds: that the model took.
    """

    model: Model
    conversation: Conversation
    max_new_tokens: int
    cache: str = "dynamic"
    read_tokens: int = 0
    new_tokens: int = 0
    turns: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._reader: TextReader | None = None
        self._read: list[int] = []

    def answer(self, settings: TextSettings, seed: int, show: Callable[[str], None]) -> str:
        """Make the next answer and add it to the conversation.

        One that is interrupted stays as far as it came.

        Args:
            settings: of the checkpoint and of the user.
            seed: of the draws.
            show: is given each piece.

        Raises:
            UsageError: the conversation leaves no room; it is as it was before.
            KeyboardInterrupt: the user did not want more.
        """
        prompt = self.conversation.prompt()
        config = self.model.config.text
        room = room_after(self.conversation.task, prompt.ids, config)
        reader = self._reader_of(prompt, settings)
        began = perf_counter()
        text = Text(self.conversation.tokenizer, prompt.ids, settings.stop_strings)
        steps = decoding(
            self.model,
            [prompt.ids],
            max_new_tokens=[min(self.max_new_tokens, room)],
            settings=settings,
            seeds=[seed],
            reader=reader,
        )
        try:
            for (token,) in steps:
                if token is not None:  # beams say nothing before they are whole
                    show(text.push(token))
                if text.stopped:
                    break
            show(text.finish())
        finally:
            self._read = [*prompt.ids, *text.ids][: reader.read]
            self.conversation.messages.append({"role": "assistant", "content": text.text.strip()})
            self.turns += 1
            self.new_tokens += len(text.ids)
            self.seconds += perf_counter() - began
        return text.text

    def _reader_of(self, prompt: Prompt, settings: TextSettings) -> TextReader:
        """What goes on from the longest beginning that was read already."""
        reader = self._reader
        if reader is not None and self._read and not prompt.media:
            known = reader.go_on(self._read, prompt.ids)
        else:
            made = make_reader(
                self.model, [prompt.ids], self.max_new_tokens, settings, self.cache, prompt.media
            )
            assert isinstance(made, TextReader), "a model that converses goes on from a text"
            reader, known = made, 0
        self.read_tokens += len(prompt.ids) - known
        self._reader = reader if _stays(prompt, settings) else None
        return reader


def _stays(prompt: Prompt, settings: TextSettings) -> bool:
    """Whether what was read can serve the next turn: it is a single row of tokens alone."""
    single = settings.beams is None and settings.contrast is None
    return single and settings.dola_layers is None and not prompt.media
