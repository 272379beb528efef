"""POST /v1/responses: OpenAI's newer interface. Nothing is stored: each request says all."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from time import time
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request

from tfcli.serve.ask import End
from tfcli.serve.http.events import stream
from tfcli.serve.openai.input_items import InputItem, turns_of
from tfcli.serve.openai.output_items import Events, call_item, message_item, thoughts_item
from tfcli.serve.openai.tools import ResponseFunctionChoice, ResponseTool, Word, chosen_tools
from tfcli.serve.server import Server
from tfcli.serve.talk import read_talk
from tfcli.serve.tools.answer import Answer
from tfcli.serve.tools.telling import Said
from tfcli.serve.wishes import Body, Wishes


class ResponsesBody(Body):
    """What is asked for."""

    model: str
    input: Annotated[list[InputItem], Field(min_length=1)] | str
    instructions: str | None = None
    max_output_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=100)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    tools: list[ResponseTool] | None = None
    tool_choice: Word | ResponseFunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    stream: bool = False
    store: Literal[False] | None = None
    user: str | None = None

    def turns(self) -> list[dict[str, Any]]:
        """The conversation, as templates take it."""
        found = [{"role": "system", "content": self.instructions}] if self.instructions else []
        if isinstance(self.input, str):
            return [*found, {"role": "user", "content": self.input}]
        return [*found, *turns_of(self.input)]


async def responses(server: Server, request: Request) -> Any:
    """Answer a request."""
    body = ResponsesBody.model_validate_json(await request.body())
    served = server.served(body.model)
    tools = chosen_tools(body.tools, body.tool_choice, body.parallel_tool_calls)
    turns = body.turns()
    talk = await server.thought(lambda: read_talk(served, turns, tools))
    wanted = await server.thought(
        lambda: talk.asks(
            Wishes(model=body.model, temperature=body.temperature, top_p=body.top_p),
            max_tokens=body.max_output_tokens,
        )
    )
    answering = server.answering(served, wanted, request)
    read = len(talk.prompt.ids)
    if body.stream:
        events = Events(_Response(body, read), talk.answer()).of(answering)
        return stream(request, answering, events, "error")
    (made,) = await answering.whole()
    answer = talk.answer()
    said = answer.whole(made.pieces)
    output = [
        *([thoughts_item(said.thoughts)] if said.thoughts else []),
        *([message_item(said.words)] if said.words or said == Said() else []),
        *map(call_item, said.calls),
    ]
    return _Response(body, read).whole(output, answer, made.end)


class _Response:
    """A response, which is told several times in a stream.

    Args:
        body: of the request.
        read: how many tokens the model read.
    """

    def __init__(self, body: ResponsesBody, read: int) -> None:
        self._body, self._read = body, read
        self._head = {
            "id": f"resp_{secrets.token_hex(12)}",
            "object": "response",
            "created_at": int(time()),
        }

    def whole(
        self, output: Sequence[dict[str, Any]], answer: Answer, end: End | None
    ) -> dict[str, Any]:
        """All of it; without an end the beginning."""
        body = self._body
        cut = end is not None and end.reason != "stop"
        used = {
            "input_tokens": self._read,
            "input_tokens_details": {"cached_tokens": 0 if end is None else end.cached},
            "output_tokens": answer.written,
            "output_tokens_details": {"reasoning_tokens": answer.thought},
            "total_tokens": self._read + answer.written,
        }
        choice = body.tool_choice or "auto"
        return {
            **self._head,
            "model": body.model,
            "status": "in_progress" if end is None else "incomplete" if cut else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "output": list(output),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "temperature": body.temperature,
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "top_p": body.top_p,
            "store": False,
            "usage": None if end is None else used,
        }
