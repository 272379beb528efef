"""POST /v1/chat/completions: the next turn of a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request

from tfcli.limits import MAX_LOGPROBS
from tfcli.serve.ask import End, Piece
from tfcli.serve.http.answering import Answering
from tfcli.serve.http.errors import ApiError
from tfcli.serve.http.events import event, stream
from tfcli.serve.openai.completions import StreamOptions
from tfcli.serve.openai.formats import ObjectFormat, SchemaFormat, TextFormat
from tfcli.serve.openai.messages import Message
from tfcli.serve.openai.shapes import FINISH, chat_logprobs, head, usage
from tfcli.serve.openai.tools import FunctionChoice, Tool, Word, chosen_tools, openai_call
from tfcli.serve.server import Server
from tfcli.serve.talk import Talk, read_talk
from tfcli.serve.tools.answer import Answer
from tfcli.serve.tools.telling import Said
from tfcli.serve.wishes import Wishes


class ChatBody(Wishes):
    """What is asked for."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MAX_LOGPROBS)] = None
    tools: list[Tool] | None = None
    tool_choice: Word | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
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
    tools = chosen_tools(body.tools, body.tool_choice, body.parallel_tool_calls)
    messages = [message.for_template() for message in body.messages]
    variables = body.chat_template_kwargs
    talk = await server.thought(lambda: read_talk(served, messages, tools, variables))
    wanted = await server.thought(
        lambda: talk.asks(
            body,
            max_tokens=body.max_completion_tokens or body.max_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            schema=None if body.response_format is None else body.response_format.schema_text(),
        )
    )
    answering = server.answering(served, wanted, request)
    if body.stream:
        return stream(request, answering, _streamed(talk, answering, body))
    choices, answers = [], []
    found = await answering.whole()
    for number, each in enumerate(found):
        answers.append(talk.answer())
        said = answers[-1].whole(each.pieces)
        words = said.words or None if said.calls else said.words
        message: dict[str, Any] = {"role": "assistant", "content": words}
        if said.thoughts:
            message["reasoning_content"] = said.thoughts
        if said.calls:
            message["tool_calls"] = [openai_call(call) for call in said.calls]
        logprobs = chat_logprobs(served.tokenizer, each.tokens) if body.logprobs else None
        reason = _reason(said, each.end)
        choices.append(
            {"index": number, "message": message, "logprobs": logprobs, "finish_reason": reason}
        )
    return {
        **head("chat.completion", "chatcmpl", body.model),
        "choices": choices,
        "usage": _usage(talk, answers, [each.end for each in found]),
    }


async def _streamed(talk: Talk, answering: Answering, body: ChatBody) -> AsyncIterator[str]:
    begin = head("chat.completion.chunk", "chatcmpl", body.model)
    answers, ends = [talk.answer() for _ in range(body.n)], list[End]()

    def chunk(number: int, delta: dict[str, Any], **more: Any) -> str:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": None, **more}
        return event({**begin, "choices": [choice]})

    for number in range(body.n):
        yield chunk(number, {"role": "assistant", "content": ""})
    async for number, each in answering:
        if isinstance(each, Piece):
            said, more = answers[number].push(each), {}
            if body.logprobs and each.tokens:
                more["logprobs"] = chat_logprobs(talk.served.tokenizer, each.tokens)
            if said.thoughts:
                yield chunk(number, {"reasoning_content": said.thoughts})
            if said.words or more:
                yield chunk(number, {"content": said.words}, **more)
            continue
        ends.append(each)
        said = answers[number].finish()
        if said.thoughts:
            yield chunk(number, {"reasoning_content": said.thoughts})
        if said.words:
            yield chunk(number, {"content": said.words})
        for place, call in enumerate(said.calls):
            yield chunk(number, {"tool_calls": [{"index": place, **openai_call(call)}]})
        yield chunk(number, {}, finish_reason=_reason(said, each))
    if body.stream_options is not None and body.stream_options.include_usage:
        yield event({**begin, "choices": [], "usage": _usage(talk, answers, ends)})
    yield event("[DONE]")


def _reason(said: Said, end: End) -> str:
    return "tool_calls" if said.calls and end.reason == "stop" else FINISH[end.reason]


def _usage(talk: Talk, answers: Sequence[Answer], ends: Sequence[End]) -> dict[str, Any]:
    written = sum(answer.written for answer in answers)
    thought = sum(answer.thought for answer in answers)
    return usage(len(talk.prompt.ids), written, ends, thought)
