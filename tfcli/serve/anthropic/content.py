"""What a message is made of, as a whole and as the events of a stream."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tfcli.serve.ask import End, Piece, Reason
from tfcli.serve.http.answering import Answering
from tfcli.serve.http.events import event
from tfcli.serve.tools.answer import Answer
from tfcli.serve.tools.families import Call
from tfcli.serve.tools.telling import Said

STOPPED: dict[Reason, str] = {"stop": "end_turn", "length": "max_tokens", "time": "max_tokens"}
"""Why a text ended, in this interface."""


def content_of(said: Said) -> list[dict[str, Any]]:
    """The blocks of a whole answer."""
    thoughts = [_thinking(said.thoughts)] if said.thoughts else []
    words = [_text(said.words)] if said.words or said == Said() else []
    return [*thoughts, *words, *map(_use, said.calls)]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _thinking(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": ""}


def _use(call: Call) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": f"toolu_{secrets.token_hex(12)}",
        "name": call.name,
        "input": call.arguments,
    }


def why(end: End, said: Said) -> str:
    """Why the answer ended."""
    return "tool_use" if said.calls and end.reason == "stop" else STOPPED[end.reason]


def usage(read: int, written: int, cached: int) -> dict[str, int]:
    """Tokens; those that were known of earlier texts are counted apart, as this interface does."""
    return {
        "input_tokens": read - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": written,
    }


class _Blocks:
    """The events of blocks, one after another."""

    def __init__(self) -> None:
        self._index = -1
        self._open = ""  # the type of the block that goes on

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self._index >= 0

    def said(self, said: Said) -> Iterator[str]:
        """More thoughts and words."""
        if said.thoughts:
            yield from self._begun(_thinking(""))
            yield self._delta(type="thinking_delta", thinking=said.thoughts)
        if said.words:
            yield from self.text(said.words)

    def text(self, text: str) -> Iterator[str]:
        """More words."""
        yield from self._begun(_text(""))
        if text:
            yield self._delta(type="text_delta", text=text)

    def call(self, call: Call) -> Iterator[str]:
        """A call."""
        yield from self.closed()
        whole = _use(call)
        yield from self._begun({**whole, "input": {}})
        yield self._delta(
            type="input_json_delta", partial_json=json.dumps(whole["input"], ensure_ascii=False)
        )
        yield from self.closed()

    def closed(self) -> Iterator[str]:
        """The block that goes on ends."""
        if self._open:
            self._open = ""
            yield sent("content_block_stop", index=self._index)

    def _begun(self, block: dict[str, Any]) -> Iterator[str]:
        """A block of a type goes on."""
        if self._open != block["type"]:
            yield from self.closed()
            self._index, self._open = self._index + 1, block["type"]
            yield sent("content_block_start", index=self._index, content_block=block)

    def _delta(self, **more: Any) -> str:
        return sent("content_block_delta", index=self._index, delta=more)


def sent(kind: str, **more: Any) -> str:
    """An event, whose type is said twice."""
    return event({"type": kind, **more}, kind)


async def streamed(
    answer: Answer, answering: Answering, head: dict[str, Any], read: int
) -> AsyncIterator[str]:
    """The events of an answer.

    Args:
        answer: tells the parts of its text.
        answering: makes it.
        head: of the message.
        read: how many tokens the model read.
    """
    start = {**head, "content": [], "stop_reason": None, "stop_sequence": None}
    yield sent("message_start", message={**start, "usage": usage(read, 0, 0)})
    blocks, end = _Blocks(), End("stop")
    async for _, each in answering:
        if isinstance(each, Piece):
            for told in blocks.said(answer.push(each)):
                yield told
        else:
            end = each
    rest = answer.finish()
    for told in blocks.said(rest):
        yield told
    if not blocks.any and not rest.calls:
        for told in blocks.text(""):
            yield told
    for told in blocks.closed():
        yield told
    for call in rest.calls:
        for told in blocks.call(call):
            yield told
    yield sent(
        "message_delta",
        delta={"stop_reason": why(end, answer.said), "stop_sequence": None},
        usage=usage(read, answer.written, end.cached),
    )
    yield sent("message_stop")
