"""POST /v1/messages: the next turn of a conversation."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request

from tfcli.serve.anthropic.blocks import TextBlock, Turn, for_template, system_text
from tfcli.serve.anthropic.content import content_of, streamed, usage, why
from tfcli.serve.anthropic.thinking import Thinking, budget_of, is_wanted
from tfcli.serve.anthropic.tools import AnthropicTool, Choice, chosen_tools
from tfcli.serve.http.events import stream
from tfcli.serve.server import Server
from tfcli.serve.talk import Talk, read_talk
from tfcli.serve.wishes import Body, Wishes


class CountBody(Body):
    """A conversation whose tokens are counted."""

    model: str
    messages: Annotated[list[Turn], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None


class MessagesBody(CountBody):
    """What is asked for."""

    max_tokens: Annotated[int, Field(ge=1)]
    stop_sequences: list[str] | None = None
    stream: bool = False
    temperature: Annotated[float | None, Field(ge=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=0)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
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


async def count_tokens(server: Server, request: Request) -> Any:
    """POST /v1/messages/count_tokens."""
    body = CountBody.model_validate_json(await request.body())
    return {"input_tokens": len((await _talk(server, body)).prompt.ids)}


async def messages(server: Server, request: Request) -> Any:
    """Answer a request."""
    body = MessagesBody.model_validate_json(await request.body())
    talk = await _talk(server, body)
    budget = budget_of(body.thinking)
    wanted = await server.thought(
        lambda: talk.asks(body.wishes(), max_tokens=body.max_tokens, budget=budget)
    )
    answering = server.answering(talk.served, wanted, request)
    head, read = _head(body.model), len(talk.prompt.ids)
    if body.stream:
        return stream(request, answering, streamed(talk.answer(), answering, head, read), "error")
    (made,) = await answering.whole()
    answer = talk.answer()
    said = answer.whole(made.pieces)
    return {
        **head,
        "content": content_of(said),
        "stop_reason": why(made.end, said),
        "stop_sequence": None,
        "usage": usage(read, answer.written, made.end.cached),
    }


async def _talk(server: Server, body: CountBody) -> Talk:
    served = server.served(body.model)
    turns = [each for turn in body.messages for each in for_template(turn)]
    if body.system:
        turns.insert(0, {"role": "system", "content": system_text(body.system)})
    tools = chosen_tools(body.tools, body.tool_choice)
    thinks = is_wanted(body.thinking)
    return await server.thought(lambda: read_talk(served, turns, tools, thinks=thinks))


def _head(model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": model,
    }
