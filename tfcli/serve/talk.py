"""A conversation that a model goes on with: what it reads, how its turn is held, what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError
from tfcli.generation.media import Prompt
from tfcli.serve.ask import Ask
from tfcli.serve.budget import Budget
from tfcli.serve.http.errors import ApiError
from tfcli.serve.served import Served
from tfcli.serve.tools.answer import Answer
from tfcli.serve.tools.channels import Channels
from tfcli.serve.tools.choice import Tools
from tfcli.serve.tools.lark import calls_lark, schema_lark
from tfcli.serve.tools.manner import Manner, manner_of
from tfcli.serve.tools.telling import Telling, Turn
from tfcli.serve.wishes import Wishes, asks
from tfcli.tokenizers.chat_folder import choose_template

_LOOKED_AT = 16
"""The last ids of a prompt, which say whether it has begun the model's thoughts."""

THINKING_VARIABLE = "enable_thinking"
"""What the templates of Qwen 3 and others ask of whether to think."""


@dataclass(frozen=True)
class Talk:
    """A conversation as its model reads it.

    Args:
        served: the model.
        prompt: what it reads.
        tools: that it is told of.
        manner: how it writes.
        opened: the prompt has begun its thoughts.
    """

    served: Served
    prompt: Prompt
    tools: Tools | None
    manner: Manner
    opened: bool

    def asks(
        self,
        wishes: Wishes,
        *,
        max_tokens: int | None,
        logprobs: int | None = None,
        schema: str | None = None,
        budget: int | None = None,
    ) -> list[Ask]:
        """What an engine is asked for; see `wishes.asks`.

        Args:
            schema: a JSON Schema that the words fit; None: they are free.
            budget: tokens after which thoughts end; None: any number.

        Raises:
            ValidationError, UsageError, WorkError: what is asked for cannot be.
        """
        return asks(
            self.served,
            self.prompt.ids,
            wishes,
            max_tokens=max_tokens,
            logprobs=logprobs,
            continues=False,
            special=self.tools is not None or self._marked_by_special,
            media=self.prompt.media,
            lark=self._lark(schema),
            budget=None if budget is None else self._budget(budget),
        )

    def answer(self) -> Answer:
        """What tells of one answer."""
        return Answer(self._telling())

    def _telling(self) -> Telling:
        form = self.manner.calls if self.tools is not None else None
        several = self.tools is None or self.tools.several
        if self.manner.has_channels:
            return Channels(form, several=several)
        return Turn(self.manner.thinking, form, opened=self.opened, several=several)

    @property
    def _marked_by_special(self) -> bool:
        """Whether thoughts are marked by special tokens, which must then be spelt out."""
        thinking = self.manner.thinking
        marks = "" if thinking is None else thinking.begin + thinking.end
        added = self.served.tokenizer.backend.get_added_tokens_decoder().values()
        return any(token.special and token.content in marks for token in added)

    def _budget(self, tokens: int) -> Budget:
        """The limit of thoughts.

        Raises:
            UsageError: the model's have no mark that a single token ends.
        """
        tokenizer, thinking = self.served.tokenizer, self.manner.thinking
        ids = [] if thinking is None else tokenizer.encode(thinking.end, add_special_tokens=False)
        added = tokenizer.backend.get_added_tokens_decoder()
        if thinking is None or ids[0] not in added:
            raise UsageError(
                f"{self.served.name} has no token that ends thoughts, so that they have no budget",
                where="thinking",
                fix="leave it out",
            )
        begin = [] if self.opened else tokenizer.encode(thinking.begin, add_special_tokens=False)
        return Budget(tokens, tuple(begin), ids[0])

    def _lark(self, schema: str | None) -> str | None:
        """The grammar of the turn; None: it is free."""
        tokenizer, thinking = self.served.tokenizer, self.manner.thinking
        if self.tools is None or not self.tools.required:
            if schema is None:
                return None
            return schema_lark(
                schema, thinking, tokenizer, opened=self.opened, where="response_format"
            )
        if schema is not None:
            raise ApiError(
                400, "an answer that must be a call fits no schema", param="response_format"
            )
        if self.manner.calls is None:
            raise ApiError(
                400,
                f"{self.served.name} has no known way of writing calls, so that none can be "
                "required",
                param="tool_choice",
            )
        return calls_lark(
            self.tools.candidates(),
            self.manner.calls.spelling,
            thinking,
            tokenizer,
            opened=self.opened,
            several=self.tools.several,
        )


def read_talk(
    served: Served,
    messages: Sequence[Mapping[str, Any]],
    tools: Tools | None = None,
    variables: Mapping[str, Any] | None = None,
    thinks: bool | None = None,
) -> Talk:
    """Have a conversation read. It takes a while where it is long.

    Args:
        served: the model.
        messages: as templates take them, with `reasoning_content` for thoughts; the parts of one
            with images have data URLs as `path`.
        tools: that the model is told of.
        variables: more of the template.
        thinks: whether the model thinks first; None: as it does by itself.

    Raises:
        UsageError: the model has no chat template, looks at no images, or cannot be told to think
            or not to.
        WorkError: data that is no image, messages that the template refuses.
    """
    if not served.templates:
        raise UsageError(f"{served.name} has no chat template", where="messages")
    template = choose_template(served.templates, tools=tools is not None)
    manner = manner_of(template)
    if thinks is not None:
        variables = {**(variables or {}), **_switch(thinks, template, served.name)}
    if manner.has_channels:
        messages = [_for_channels(message) for message in messages]
    functions = None if tools is None else tools.functions
    prompt = served.read(messages, functions, variables)
    opened = False
    if manner.thinking is not None and not manner.has_channels:
        end = served.tokenizer.decode(prompt.ids[-_LOOKED_AT:], skip_special_tokens=False)
        opened = end.rstrip().endswith(manner.thinking.begin)
    return Talk(served, prompt, tools, manner, opened)


def _switch(thinks: bool, template: str, name: str) -> dict[str, bool]:
    """The variable that tells a template whether its model thinks, where it asks for one."""
    if THINKING_VARIABLE in template:
        return {THINKING_VARIABLE: thinks}
    if thinks == (manner_of(template).thinking is not None):
        return {}
    said = "does not think first" if thinks else "always thinks first"
    raise UsageError(f"{name} {said}", where="thinking", fix="leave it out")


def _for_channels(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as gpt-oss's template takes it: thoughts have another name, and beside calls there
    are either thoughts or words."""
    found = {key: value for key, value in message.items() if key != "reasoning_content"}
    thoughts = message.get("reasoning_content")
    if thoughts and not (message.get("tool_calls") and message.get("content")):
        found["thinking"] = thoughts
    return found
