"""A model that is served: what it reads requests with, and the engine that answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.errors import UsageError
from tfcli.generation.grammar import Grammar, lark_grammar
from tfcli.generation.media import LOOKS, Prompt, read_conversation
from tfcli.generation.tasks import room_after
from tfcli.serve.engine import Engine
from tfcli.serve.prefix_files import PrefixFiles
from tfcli.tokenizers.chat import encode_chat
from tfcli.tokenizers.chat_folder import choose_template, declared_bos
from tfcli.tokenizers.fits import check_ids
from tfcli.tokenizers.load import Tokenizer

MOST_GRAMMARS = 32


@dataclass(frozen=True)
class Served:
    """A model that is served.

    Args:
        name: that requests say.
        checkpoint: it was loaded from.
        tokenizer: of the model.
        task: how it makes text.
        generation_config: of the checkpoint, with what the server's user says of drafts.
        templates: for conversations, by name.
        engine: that has the model.
        files: where prefixes are kept, if they are.
        max_new_tokens: of an answer at most.
        timeout: seconds of an answer.
        adapter: that its texts are made with; see `with_adapter`.
    """

    name: str
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    task: str
    generation_config: Mapping[str, Any]
    templates: Mapping[str, str]
    engine: Engine
    files: PrefixFiles | None
    max_new_tokens: int
    timeout: float
    adapter: str | None = None
    _grammars: dict[str, Grammar] = field(default_factory=dict)

    def with_adapter(self, adapter: str) -> Served:
        """The same model with one of its adapters, under the name that requests say."""
        return replace(self, name=f"{self.name}:{adapter}", adapter=adapter)

    def text_ids(self, text: str, *, special: bool = True) -> list[int]:
        """What the model reads of a text that it goes on with, as `tfcli generate` has it."""
        ids = self.tokenizer.encode(text, add_special_tokens=special)
        ids = ids[: len(ids) - len(self.tokenizer.suffix)] if special else ids
        config = self.checkpoint.model_config.text
        declared = (self.tokenizer.bos_id, config.bos_token_id)
        return ids or [bos for bos in declared if bos is not None][:1]

    def read(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """What the model reads of a conversation.

        Args:
            messages: as its template takes them; the parts of one with images have data URLs.
            tools: functions that it is told of, in OpenAI's form.
            variables: more of the template.

        Raises:
            UsageError: it has no chat template, or looks at no images.
            WorkError: data that is no image, messages that the template refuses.
        """
        if any(isinstance(message.get("content"), list) for message in messages):
            if self.task != LOOKS:
                raise UsageError(f"{self.name} reads text alone", where="messages")
            return read_conversation(self.checkpoint, messages, tools, variables)
        encoded = encode_chat(
            self.tokenizer,
            messages,
            template=choose_template(self.templates, tools=bool(tools)),
            add_bos=declared_bos(self.checkpoint.beside),
            add_generation_prompt=True,
            tools=tools,
            variables=variables,
        )
        return Prompt("", encoded.ids)

    def new_tokens(self, ids: Sequence[int], asked: int | None) -> int:
        """How many tokens an answer has at most.

        Raises:
            UsageError: a prompt that leaves no room.
            WorkError: an id that the model does not have.
        """
        config = self.checkpoint.model_config
        room = room_after(self.task, ids, config.text)
        check_ids(ids, config, self.name)
        return min(room, self.max_new_tokens, asked or self.max_new_tokens)

    def grammar(self, lark: str, ends: Sequence[int]) -> Grammar:
        """What keeps a text to a grammar. Those that were asked for last are kept ready.

        Args:
            lark: see `lark_grammar`.
            ends: ids that end a text.

        Raises:
            UsageError: a grammar that cannot be followed.
            WorkError: llguidance is not installed.
        """
        key = f"{ends}{lark}"
        found = self._grammars.pop(key, None)
        if found is None:
            found = lark_grammar(lark, self.tokenizer, ends, "response_format, tools")
        self._grammars[key] = found
        if len(self._grammars) > MOST_GRAMMARS:
            del self._grammars[next(iter(self._grammars))]
        return found

    def close(self) -> None:
        """End the engine, and write what is to survive."""
        self.engine.close()
        if self.files is not None:
            self.files.close()
