"""POST /v1/chat/completions: the next turn of a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request

from tfcli.generation.media import Prompt
from tfcli.limits import MAX_LOGPROBS
from tfcli.serve.ask import End, Piece
from tfcli.serve.http.answering import Answering
from tfcli.serve.http.errors import ApiError
from tfcli.serve.http.events import event, stream
from tfcli.serve.openai.completions import StreamOptions
from tfcli.serve.openai.formats import ObjectFormat, SchemaFormat, TextFormat
from tfcli.serve.openai.messages import Message
from tfcli.serve.openai.shapes import FINISH, chat_logprobs, head, usage
from tfcli.serve.served import Served
from tfcli.serve.server import Server
from tfcli.serve.tools.calls import Calls, calls_of, openai_call
from tfcli.serve.wishes import Body, Wishes, asks


class FunctionSchema(Body):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool, which is a function."""

    type: Literal["function"] = "function"
    function: FunctionSchema


class ChatBody(Wishes):
    """What is asked for."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MAX_LOGPROBS)] = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    response_format: TextFormat | ObjectFormat | SchemaFormat | None = Field(
        None, discriminator="type"
    )
    chat_template_kwargs: dict[str, Any] | None = None
    stream_options: StreamOptions | None = None


async def chat(server: Server, request: Request) -> Any:
    """Answer a request."""
    body = ChatBody.model_validate_json(await request.body())
    served = server.served(body.model)
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs has no effect without logprobs", param="top_logprobs")
    tools = None
    if body.tools and body.tool_choice != "none":
        tools = [tool.model_dump(exclude_none=True) for tool in body.tools]
    messages = [message.for_template() for message in body.messages]
    if any(message.images for message in body.messages):
        if tools or body.chat_template_kwargs:
            raise ApiError(400, "images go with neither tools nor keys of the template")
        prompt = await server.thought(lambda: served.seen(messages))
    else:
        variables = body.chat_template_kwargs
        ids = await server.thought(lambda: served.chat_ids(messages, tools, variables))
        prompt = Prompt("", ids)
    ids = prompt.ids
    wanted = await server.thought(
        lambda: asks(
            served,
            ids,
            body,
            max_tokens=body.max_completion_tokens or body.max_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            continues=False,
            special=tools is not None,
            media=prompt.media,
            schema=None if body.response_format is None else body.response_format.schema_text(),
        )
    )
    answering = server.answering(served, wanted, request)
    if body.stream:
        events = _streamed(served, answering, body, len(ids), tools is not None)
        return stream(request, answering, events)
    found = await answering.whole()
    written = sum(len(tokens) for _, tokens, _ in found)
    choices = []
    for number, (text, tokens, end) in enumerate(found):
        said, calls = calls_of(served, text) if tools else (text, [])
        message: dict[str, Any] = {"role": "assistant", "content": said or None if calls else said}
        if calls:
            message["tool_calls"] = [openai_call(call) for call in calls]
        logprobs = chat_logprobs(served.tokenizer, tokens) if body.logprobs else None
        reason = "tool_calls" if calls and end.reason == "stop" else FINISH[end.reason]
        choices.append(
            {"index": number, "message": message, "logprobs": logprobs, "finish_reason": reason}
        )
    return {
        **head("chat.completion", "chatcmpl", body.model),
        "choices": choices,
        "usage": usage(len(ids), written, [end for _, _, end in found]),
    }


async def _streamed(
    served: Served, answering: Answering, body: ChatBody, count: int, with_tools: bool
) -> AsyncIterator[str]:
    begin = head("chat.completion.chunk", "chatcmpl", body.model)
    begun: dict[int, Calls] = {}
    written, ends = 0, list[End]()

    def chunk(number: int, delta: dict[str, Any], **more: Any) -> str:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": None, **more}
        return event({**begin, "choices": [choice]})

    for number in range(body.n):
        begun[number] = Calls(served, with_tools)
        yield chunk(number, {"role": "assistant", "content": ""})
    async for number, each in answering:
        if isinstance(each, Piece):
            written += len(each.tokens)
            text = begun[number].push(each.text)
            more = {}
            if body.logprobs and each.tokens:
                more["logprobs"] = chat_logprobs(served.tokenizer, each.tokens)
            if text or more:
                yield chunk(number, {"content": text}, **more)
            continue
        ends.append(each)
        text, calls = begun[number].finish()
        if text:
            yield chunk(number, {"content": text})
        for place, call in enumerate(calls):
            yield chunk(number, {"tool_calls": [{"index": place, **openai_call(call)}]})
        reason = "tool_calls" if calls and each.reason == "stop" else FINISH[each.reason]
        yield chunk(number, {}, finish_reason=reason)
    if body.stream_options is not None and body.stream_options.include_usage:
        yield event({**begin, "choices": [], "usage": usage(count, written, ends)})
    yield event("[DONE]")
