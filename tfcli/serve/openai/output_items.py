"""What a response is made of, as a whole and as the events of a stream."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol

from tfcli.serve.ask import End, Piece
from tfcli.serve.http.answering import Answering
from tfcli.serve.http.events import event
from tfcli.serve.openai.tools import arguments_text
from tfcli.serve.tools.answer import Answer
from tfcli.serve.tools.families import Call
from tfcli.serve.tools.telling import Said


def message_item(text: str) -> dict[str, Any]:
    """Words."""
    return {
        "type": "message",
        "id": f"msg_{secrets.token_hex(12)}",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def thoughts_item(text: str) -> dict[str, Any]:
    """Thoughts, none of which are summed up."""
    return {
        "type": "reasoning",
        "id": f"rs_{secrets.token_hex(12)}",
        "summary": [],
        "status": "completed",
        "content": [{"type": "reasoning_text", "text": text}],
    }


def call_item(call: Call) -> dict[str, Any]:
    """A call."""
    return {
        "type": "function_call",
        "id": f"fc_{secrets.token_hex(12)}",
        "call_id": f"call_{secrets.token_hex(12)}",
        "status": "completed",
        "name": call.name,
        "arguments": arguments_text(call),
    }


class Whole(Protocol):
    """Says all of a response, as far as it has come."""

    def whole(
        self, output: Sequence[dict[str, Any]], answer: Answer, end: End | None
    ) -> dict[str, Any]: ...


class Events:
    """The events of a response.

    Args:
        response: says all of it.
        answer: tells the parts of the text.
    """

    def __init__(self, response: Whole, answer: Answer) -> None:
        self._response, self._answer = response, answer
        self._number = -1
        self._output: list[dict[str, Any]] = []
        self._open = False  # the last item of the output is not whole

    async def of(self, answering: Answering) -> AsyncIterator[str]:
        """All of them, as they come."""
        yield self._sent("response.created", response=self._response.whole([], self._answer, None))
        end = End("stop")
        async for _, each in answering:
            if isinstance(each, Piece):
                for told in self._texts(self._answer.push(each)):
                    yield told
            else:
                end = each
        said = self._answer.finish()
        for told in self._texts(said):
            yield told
        if not self._output and not said.calls:
            for told in self._begun(message_item("")):
                yield told
        for told in self._closed():
            yield told
        for call in said.calls:
            for told in self._call(call_item(call)):
                yield told
        whole = self._response.whole(self._output, self._answer, end)
        yield self._sent(f"response.{whole['status']}", response=whole)

    def _sent(self, kind: str, **more: Any) -> str:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number, **more}, kind)

    def _texts(self, said: Said) -> Iterator[str]:
        if said.thoughts:
            yield from self._text(thoughts_item(""), "response.reasoning_text", said.thoughts)
        if said.words:
            yield from self._text(message_item(""), "response.output_text", said.words)

    def _text(self, item: dict[str, Any], kind: str, text: str) -> Iterator[str]:
        """More of a text; where it is another one than before, its item begins."""
        if not self._open or self._output[-1]["type"] != item["type"]:
            yield from self._closed()
            yield from self._begun(item)
        self._output[-1]["content"][0]["text"] += text
        more: dict[str, Any] = {"logprobs": []} if kind == "response.output_text" else {}
        yield self._sent(f"{kind}.delta", **self._place, delta=text, **more)

    def _begun(self, item: dict[str, Any]) -> Iterator[str]:
        self._output.append(item)
        self._open = True
        empty = {**item, "content": [], "status": "in_progress"}
        yield self._sent("response.output_item.added", output_index=self._index, item=empty)
        part = dict(item["content"][0])
        yield self._sent("response.content_part.added", **self._place, part=part)

    def _closed(self) -> Iterator[str]:
        """The open item is whole."""
        if not self._open:
            return
        self._open = False
        item = self._output[-1]
        part = item["content"][0]
        kind, more = "response.reasoning_text.done", dict[str, Any]()
        if item["type"] == "message":
            kind, more = "response.output_text.done", {"logprobs": []}
        yield self._sent(kind, **self._place, text=part["text"], **more)
        yield self._sent("response.content_part.done", **self._place, part=part)
        yield self._sent("response.output_item.done", output_index=self._index, item=item)

    def _call(self, item: dict[str, Any]) -> Iterator[str]:
        self._output.append(item)
        empty = {**item, "arguments": "", "status": "in_progress"}
        yield self._sent("response.output_item.added", output_index=self._index, item=empty)
        where = {"item_id": item["id"], "output_index": self._index}
        kind = "response.function_call_arguments"
        yield self._sent(f"{kind}.delta", **where, delta=item["arguments"])
        said = {"name": item["name"], "arguments": item["arguments"]}
        yield self._sent(f"{kind}.done", **where, **said)
        yield self._sent("response.output_item.done", output_index=self._index, item=item)

    @property
    def _index(self) -> int:
        return len(self._output) - 1

    @property
    def _place(self) -> dict[str, Any]:
        return {
            "item_id": self._output[-1]["id"],
            "output_index": self._index,
            "content_index": 0,
        }
