"""POST /v1/messages: the next turn of a conversation."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request

from tfcli.serve.anthropic.blocks import (
    AnthropicTool,
    TextBlock,
    Turn,
    for_template,
    system_text,
    tool_block,
)
from tfcli.serve.ask import End, Piece, Reason
from tfcli.serve.http.answering import Answering
from tfcli.serve.http.errors import ApiError
from tfcli.serve.http.events import event, stream
from tfcli.serve.served import Served
from tfcli.serve.server import Server
from tfcli.serve.tools.calls import Calls, calls_of
from tfcli.serve.wishes import Body, Wishes, asks

STOPPED: dict[Reason, str] = {"stop": "end_turn", "length": "max_tokens", "time": "max_tokens"}
"""Why a text ended, in this interface."""


class ToolChoice(Body):
    """Whether tools may be called."""

    type: Literal["auto", "none"]


class MessagesBody(Body):
    """What is asked for."""

    model: str
    messages: Annotated[list[Turn], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)]
    system: str | list[TextBlock] | None = None
    stop_sequences: list[str] | None = None
    stream: bool = False
    temperature: Annotated[float | None, Field(ge=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=0)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    tools: list[AnthropicTool] | None = None
    tool_choice: ToolChoice | None = None
    metadata: dict[str, Any] | None = None

    def wishes(self) -> Wishes:
        """The same as the keys that interfaces share."""
        return Wishes(
            model=self.model,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop=self.stop_sequences or None,
        )


class CountBody(Body):
    """A conversation whose tokens are counted."""

    model: str
    messages: Annotated[list[Turn], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: ToolChoice | None = None


async def count_tokens(server: Server, request: Request) -> Any:
    """POST /v1/messages/count_tokens."""
    body = CountBody.model_validate_json(await request.body())
    return {"input_tokens": len(await _ids(server, body))}


async def messages(server: Server, request: Request) -> Any:
    """Answer a request."""
    body = MessagesBody.model_validate_json(await request.body())
    served = server.served(body.model)
    ids = await _ids(server, body)
    with_tools = _tools(body) is not None
    wanted = asks(
        served,
        ids,
        body.wishes(),
        max_tokens=body.max_tokens,
        continues=False,
        special=with_tools,
    )
    answering = server.answering(served, wanted, request)
    if body.stream:
        return stream(request, answering, _streamed(served, answering, body, len(ids)), "error")
    ((text, tokens, end),) = await answering.whole()
    said, calls = calls_of(served, text) if with_tools else (text, [])
    content: list[dict[str, Any]] = [{"type": "text", "text": said}] if said or not calls else []
    content += map(tool_block, calls)
    return {
        **_head(body.model),
        "content": content,
        "stop_reason": _reason(end, bool(calls)),
        "stop_sequence": None,
        "usage": _usage(len(ids), len(tokens), end.cached),
    }


async def _streamed(
    served: Served, answering: Answering, body: MessagesBody, count: int
) -> AsyncIterator[str]:
    calls, written, block = Calls(served, _tools(body) is not None), 0, -1

    def sent(kind: str, **more: Any) -> str:
        return event({"type": kind, **more}, kind)

    def delta(**more: Any) -> str:
        return sent("content_block_delta", index=block, delta=more)

    start = {**_head(body.model), "content": [], "stop_reason": None, "stop_sequence": None}
    yield sent("message_start", message={**start, "usage": _usage(count, 0, 0)})
    block += 1
    yield sent("content_block_start", index=block, content_block={"type": "text", "text": ""})
    end = End("stop")
    async for _, each in answering:
        if isinstance(each, End):
            end = each
            continue
        assert isinstance(each, Piece)
        written += len(each.tokens)
        text = calls.push(each.text)
        if text:
            yield delta(type="text_delta", text=text)
    rest, found = calls.finish()
    if rest:
        yield delta(type="text_delta", text=rest)
    yield sent("content_block_stop", index=block)
    for call in found:
        block += 1
        whole = tool_block(call)
        yield sent("content_block_start", index=block, content_block={**whole, "input": {}})
        yield delta(
            type="input_json_delta", partial_json=json.dumps(whole["input"], ensure_ascii=False)
        )
        yield sent("content_block_stop", index=block)
    yield sent(
        "message_delta",
        delta={"stop_reason": _reason(end, bool(found)), "stop_sequence": None},
        usage=_usage(count, written, end.cached),
    )
    yield sent("message_stop")


async def _ids(server: Server, body: MessagesBody | CountBody) -> list[int]:
    served = server.served(body.model)
    turns = [each for turn in body.messages for each in for_template(turn)]
    if body.system:
        turns.insert(0, {"role": "system", "content": system_text(body.system)})
    tools = _tools(body)
    return await server.thought(lambda: served.chat_ids(turns, tools, None))


def _tools(body: MessagesBody | CountBody) -> list[dict[str, Any]] | None:
    off = body.tool_choice is not None and body.tool_choice.type == "none"
    if off and not body.tools:
        raise ApiError(400, "tool_choice has no effect without tools", param="tool_choice")
    return None if off or not body.tools else [tool.for_template() for tool in body.tools]


def _head(model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": model,
    }


def _reason(end: End, calls: bool) -> str:
    return "tool_use" if calls and end.reason == "stop" else STOPPED[end.reason]


def _usage(read: int, written: int, cached: int) -> dict[str, int]:
    """Tokens; those that were known of earlier texts are counted apart, as this interface does."""
    return {
        "input_tokens": read - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": written,
    }
