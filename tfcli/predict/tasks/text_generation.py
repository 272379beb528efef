"""`text-generation`: texts that go on from a prompt, and answers in a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfcli.errors import WorkError
from tfcli.generation.media import Prompt
from tfcli.generation.spec import Answer
from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.options.writing import TextGenerationOptions
from tfcli.predict.task import Sample
from tfcli.predict.texts import longest
from tfcli.predict.writing import WritingTask
from tfcli.tokenizers.chat import encode_chat
from tfcli.tokenizers.chat_folder import choose_template, find_templates

Messages = list[dict[str, Any]]


class TextGeneration(WritingTask[TextGenerationOptions]):
    """A row has a `text`: a prompt, or the messages of a conversation. The answer is a list of
    texts, one for each of `num_return_sequences`."""

    name = "text-generation"
    inputs = ("text",)
    options_class = TextGenerationOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, "causal-lm")

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        given = row["text"]
        if isinstance(given, str):
            ids = self._prompt_ids(self.options.prefix + given)
        elif is_chat(given):
            ids = self._chat_ids(given)
        else:
            raise WorkError("'text' is neither a text nor a list of messages")
        if self.options.handle_long_generation == "hole":
            ids = self._with_hole(ids)
        shown = given if isinstance(given, str) else ""
        return [self.asked_of(Prompt(shown, ids), given)]

    def _prompt_ids(self, text: str) -> list[int]:
        """The ids of a prompt without what would end it; a BOS stands for nothing."""
        tokenizer = self.parts.tokenizer
        ids = tokenizer.encode(text)
        ids = ids[: len(ids) - len(tokenizer.suffix)]
        declared = (tokenizer.bos_id, self.parts.config.text.bos_token_id)
        return ids or [bos for bos in declared if bos is not None][:1]

    def _chat_ids(self, messages: Messages) -> list[int]:
        goes_on, folder = self._goes_on(messages), self.parts.checkpoint.beside
        return encode_chat(
            self.parts.tokenizer,
            messages,
            template=choose_template(find_templates(folder)),
            add_bos=False,  # the template has it where it belongs, as for transformers
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
        ).ids

    def _goes_on(self, messages: Messages) -> bool:
        said = self.options.continue_final_message
        return messages[-1].get("role") == "assistant" if said is None else said

    def _with_hole(self, ids: list[int]) -> list[int]:
        """The end of a prompt that leaves room for the new tokens.

        Raises:
            WorkError: these alone are too many.
        """
        new, room = self.wanted(len(ids)), longest(self.parts)
        if room is None or len(ids) + new <= room:
            return ids
        if new >= room:
            raise WorkError(
                f"{new} new tokens leave nothing of the model's {room} positions to a prompt",
                fix="give a smaller max_new_tokens",
            )
        return ids[new - room :]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[list[Answer]]) -> Any:
        given = samples[0].about.given
        return [self._record(given, answer) for answer in outputs[0]]

    def _record(self, given: str | Messages, answer: Answer) -> dict[str, Any]:
        if self.options.gives_ids:
            return {"generated_token_ids": [*answer.prompt_ids, *answer.token_ids]}
        text: Any = self.text_of(answer)
        if self.options.return_full_text:
            goes_on = not isinstance(given, str) and self._goes_on(given)
            text = after(given, text, goes_on)
        return {"generated_text": text}


def is_chat(value: Any) -> bool:
    """Whether a value is a conversation: messages, each with a role."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, Mapping) and "role" in each for each in value)
    )


def after(given: str | Messages, text: str, goes_on: bool) -> str | Messages:
    """A prompt with the new text: a text, or the messages with the assistant's.

    Args:
        goes_on: the last message is what the text goes on from.
    """
    if isinstance(given, str):
        return given + text
    if not goes_on:
        return [*given, {"role": "assistant", "content": text}]
    last = given[-1]
    return [*given[:-1], {"role": last["role"], "content": last["content"] + text}]
