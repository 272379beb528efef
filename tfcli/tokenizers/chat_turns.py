"""What the assistant wrote in a rendered conversation, whatever the template marks.

A template that marks it (`{% generation %}`) is believed. Of any other the conversation is rendered
up to each of the assistant's messages: once as a prompt for it, once with it. What the second text
has after the first is the assistant's. All such texts must be beginnings of the whole one.

Some templates write an earlier message in another way than the last one: Qwen3's leaves out what
the assistant thought before. There each of the assistant's turns becomes a text of its own, the one
that a model has seen when it writes that turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tfcli.errors import WorkError
from tfcli.tokenizers.chat import Rendered
from tfcli.tokenizers.load import Tokenizer

ASSISTANT = "assistant"
_SHOWN = 40  # characters of a text in a message


class Render(Protocol):
    """A template with all that it takes but the messages."""

    def __call__(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
    ) -> Rendered: ...


def render_turns(
    render: Render, messages: Sequence[Mapping[str, Any]], stops: Sequence[str]
) -> list[Rendered]:
    """A conversation as texts in which the assistant's parts are known.

    A message of the assistant's with which a conversation begins answers nothing, and is no part.
    The token that ends a turn belongs to it.

    Args:
        render: gives the text of messages.
        messages: the conversation.
        stops: the special tokens, one of which may end a turn.

    Returns:
        the whole conversation; or, where the template changes earlier turns, a text for each of the
        assistant's turns, of which that turn alone is marked

    Raises:
        WorkError: the template writes a prompt in another way when the answer is there.
    """
    whole = render(messages)
    if whole.generation_spans is not None:
        marked = (_with_stop(whole.text, span, stops) for span in whole.generation_spans)
        return [Rendered(whole.text, tuple(marked))]
    turns: list[Rendered] = []
    for number, message in enumerate(messages):
        if number and message.get("role") == ASSISTANT:
            before = render(messages[:number], add_generation_prompt=True).text
            last = number + 1 == len(messages)
            after = whole.text if last else render(messages[: number + 1]).text
            turns.append(Rendered(after, (_turn(before, after, number, stops),)))
    spans = [_within(whole.text, turn, stops) for turn in turns]
    if None in spans:
        return turns
    marked = (_with_stop(whole.text, span, stops) for span in spans if span is not None)
    return [Rendered(whole.text, tuple(marked) or None)]


def special_texts(tokenizer: Tokenizer) -> list[str]:
    """The special tokens of a tokenizer as texts, the longest first."""
    backend = tokenizer.backend
    added = backend.get_added_tokens_decoder().values()
    declared = (backend.id_to_token(id) for id in tokenizer.special_ids.values())
    found = {token.content for token in added if token.special} | set(filter(None, declared))
    return sorted(found, key=lambda text: (-len(text), text))


def _turn(before: str, after: str, number: int, stops: Sequence[str]) -> tuple[int, int]:
    """Where the assistant's message is in `after`, without blanks behind the token that ends it."""
    if not after.startswith(before):
        same = next(
            (at for at, (one, two) in enumerate(zip(before, after, strict=False)) if one != two),
            min(len(before), len(after)),
        )
        raise WorkError(
            "what the assistant wrote cannot be told from the prompt: the chat template writes "
            f"{before[same : same + _SHOWN]!r} before the answer, and where the answer is there, "
            f"{after[same : same + _SHOWN]!r}",
            where=f"messages[{number}]",
            fix="mark the assistant's parts in the template by {% generation %} and "
            "{% endgeneration %}, or train on all: `rows: {train_on: all}`",
        )
    text = after[len(before) :].rstrip()
    ended = any(text.endswith(stop) for stop in stops)
    return len(before), len(before) + len(text) if ended else len(after)


def _within(whole: str, turn: Rendered, stops: Sequence[str]) -> tuple[int, int] | None:
    """Where a turn is in the whole conversation; None where that has another beginning.

    Some templates end every text with a further token, such as an EOS behind the last turn's own
    end. The turn is then the same up to the first of these tokens.
    """
    ((begin, end),) = turn.generation_spans or ((0, 0),)
    if whole.startswith(turn.text):
        return begin, end
    stop = "|".join(map(re.escape, stops))
    ends = re.search(rf"({stop})(?:\s|{stop})*\Z", turn.text[begin:]) if stop else None
    short = begin + ends.end(1) if ends else len(turn.text)
    return (begin, short) if whole.startswith(turn.text[:short]) else None


def _with_stop(text: str, span: tuple[int, int], stops: Sequence[str]) -> tuple[int, int]:
    """A part with the special token that stands behind it, where it does not end with one."""
    begin, end = span
    if begin == end or text[begin:end].rstrip().endswith(tuple(stops)):
        return span
    stop = next((stop for stop in stops if text.startswith(stop, end)), "")
    return begin, end + len(stop)
