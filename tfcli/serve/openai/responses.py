"""POST /v1/responses: OpenAI's newer interface. Nothing is stored: each request says all."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from time import time
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request

from tfcli.serve.ask import End, Piece
from tfcli.serve.http.answering import Answering
from tfcli.serve.http.events import event, stream
from tfcli.serve.served import Served
from tfcli.serve.server import Server
from tfcli.serve.tools.calls import Calls, calls_of, openai_call
from tfcli.serve.tools.families import Call
from tfcli.serve.wishes import Body, Wishes, asks


class InputText(Body):
    """A part of a message."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class InputMessage(Body):
    """A turn."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputText]
    id: str | None = None
    status: str | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates take it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "\n".join(part.text for part in parts)
        return {"role": self.role, "content": text}


class ResponsesBody(Body):
    """What is asked for."""

    model: str
    input: str | Annotated[list[InputMessage], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=100)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    tools: list[FunctionTool] | None = None
    stream: bool = False
    store: Literal[False] | None = None
    user: str | None = None

    def turns(self) -> list[dict[str, Any]]:
        """The conversation, as templates take it."""
        found = [{"role": "system", "content": self.instructions}] if self.instructions else []
        if isinstance(self.input, str):
            return [*found, {"role": "user", "content": self.input}]
        return [*found, *(each.for_template() for each in self.input)]


class FunctionTool(Body):
    """A function that the model may call."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates take it."""
        function = self.model_dump(exclude={"type", "strict"}, exclude_none=True)
        return {"type": "function", "function": function}


ResponsesBody.model_rebuild()


async def responses(server: Server, request: Request) -> Any:
    """Answer a request."""
    body = ResponsesBody.model_validate_json(await request.body())
    served = server.served(body.model)
    tools = [tool.for_template() for tool in body.tools] if body.tools else None
    ids = await server.thought(lambda: served.chat_ids(body.turns(), tools, None))
    wanted = asks(
        served,
        ids,
        Wishes(model=body.model, temperature=body.temperature, top_p=body.top_p),
        max_tokens=body.max_output_tokens,
        continues=False,
        special=tools is not None,
    )
    answering = server.answering(served, wanted, request)
    if body.stream:
        return stream(request, answering, _streamed(served, answering, body, len(ids)), "error")
    ((text, tokens, end),) = await answering.whole()
    said, calls = calls_of(served, text) if tools else (text, [])
    output = _output(said, calls, f"msg_{secrets.token_hex(12)}")
    return _response(body, _head(), output, end, len(ids), len(tokens))


async def _streamed(
    served: Served, answering: Answering, body: ResponsesBody, count: int
) -> AsyncIterator[str]:
    calls, text, written, number = Calls(served, bool(body.tools)), "", 0, -1
    head, item = _head(), f"msg_{secrets.token_hex(12)}"
    place = {"item_id": item, "output_index": 0, "content_index": 0}

    def sent(kind: str, **more: Any) -> str:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number, **more}, kind)

    def said(piece: str) -> str:
        nonlocal text
        text += piece
        return sent("response.output_text.delta", **place, delta=piece, logprobs=[])

    yield sent("response.created", response=_response(body, head, [], None, count, 0))
    empty = {"type": "output_text", "text": "", "annotations": []}
    yield sent(
        "response.output_item.added", output_index=0, item={**_message("", item), "content": []}
    )
    yield sent("response.content_part.added", **place, part=empty)
    end = End("stop")
    async for _, each in answering:
        if isinstance(each, Piece):
            written += len(each.tokens)
            piece = calls.push(each.text)
            if piece:
                yield said(piece)
        else:
            end = each
    rest, found = calls.finish()
    if rest:
        yield said(rest)
    message = _message(text, item)
    yield sent("response.output_text.done", **place, text=text, logprobs=[])
    yield sent("response.content_part.done", **place, part=message["content"][0])
    yield sent("response.output_item.done", output_index=0, item=message)
    output = [message, *map(_call, found)]
    for at, made in enumerate(output[1:], 1):
        yield sent("response.output_item.added", output_index=at, item={**made, "arguments": ""})
        where = {"item_id": made["id"], "output_index": at}
        yield sent("response.function_call_arguments.delta", **where, delta=made["arguments"])
        yield sent(
            "response.function_call_arguments.done",
            **where,
            name=made["name"],
            arguments=made["arguments"],
        )
        yield sent("response.output_item.done", output_index=at, item=made)
    whole = _response(body, head, output, end, count, written)
    yield sent(f"response.{whole['status']}", response=whole)


def _head() -> dict[str, Any]:
    return {
        "id": f"resp_{secrets.token_hex(12)}",
        "object": "response",
        "created_at": int(time()),
    }


def _response(
    body: ResponsesBody,
    head: dict[str, Any],
    output: list[dict[str, Any]],
    end: End | None,
    read: int,
    written: int,
) -> dict[str, Any]:
    """The whole answer; without an end the beginning of one."""
    cut = end is not None and end.reason != "stop"
    status = "in_progress" if end is None else "incomplete" if cut else "completed"
    used = {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0 if end is None else end.cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
    return {
        **head,
        "model": body.model,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": body.temperature,
        "tool_choice": "auto",
        "tools": [tool.model_dump() for tool in body.tools or ()],
        "top_p": body.top_p,
        "store": False,
        "usage": None if end is None else used,
    }


def _output(text: str, calls: list[Call], item: str) -> list[dict[str, Any]]:
    words = [_message(text, item)] if text or not calls else []
    return [*words, *map(_call, calls)]


def _message(text: str, item: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": item,
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def _call(call: Call) -> dict[str, Any]:
    made = openai_call(call)
    return {
        "type": "function_call",
        "id": f"fc_{secrets.token_hex(12)}",
        "call_id": made["id"],
        "status": "completed",
        **made["function"],
    }
