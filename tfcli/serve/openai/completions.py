"""POST /v1/completions: texts that go on from a prompt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request

from tfcli.limits import MAX_PROMPTS
from tfcli.serve.ask import Piece
from tfcli.serve.http.answering import Answering
from tfcli.serve.http.errors import ApiError
from tfcli.serve.http.events import event, stream
from tfcli.serve.openai.shapes import FINISH, head, text_logprobs, usage
from tfcli.serve.served import Served
from tfcli.serve.server import Server
from tfcli.serve.wishes import Body, Ids, Wishes, asks


class StreamOptions(Body):
    """What a stream tells beside the text."""

    include_usage: bool = False


class CompletionBody(Wishes):
    """What is asked for."""

    prompt: str | Ids | Annotated[list[str | Ids], Field(min_length=1, max_length=MAX_PROMPTS)]
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: Annotated[int | None, Field(ge=0, le=5)] = None
    echo: bool = False
    stream_options: StreamOptions | None = None

    def prompts(self) -> Sequence[str | Sequence[int]]:
        """Each prompt, as a text or as ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [each for each in self.prompt if isinstance(each, int)]
        return [ids] if ids else [each for each in self.prompt if not isinstance(each, int)]


async def completions(server: Server, request: Request) -> Any:
    """Answer a request."""
    body = CompletionBody.model_validate_json(await request.body())
    served = server.served(body.model)
    if body.echo and body.logprobs is not None:
        raise ApiError(400, "logprobs are of the new text alone; leave out echo", param="echo")
    read = await server.thought(lambda: [_ids(served, prompt) for prompt in body.prompts()])
    wanted = [
        ask
        for ids in read
        for ask in asks(served, ids, body, max_tokens=body.max_tokens, logprobs=body.logprobs)
    ]
    shown = [served.tokenizer.decode(ids) if body.echo else "" for ids in read]
    echoes = [text for text in shown for _ in range(body.n)]
    answering = server.answering(served, wanted, request)
    count = sum(map(len, read))
    if body.stream:
        return stream(request, answering, _streamed(served, answering, body, echoes, count))
    found = await answering.whole()
    written = sum(len(each.tokens) for each in found)
    choices = [
        {
            "index": number,
            "text": echoes[number] + each.text,
            "finish_reason": FINISH[each.end.reason],
            "logprobs": None
            if body.logprobs is None
            else text_logprobs(served.tokenizer, each.tokens, 0),
        }
        for number, each in enumerate(found)
    ]
    return {
        **head("text_completion", "cmpl", body.model),
        "choices": choices,
        "usage": usage(count, written, [each.end for each in found]),
    }


async def _streamed(
    served: Served, answering: Answering, body: CompletionBody, echoes: list[str], count: int
) -> AsyncIterator[str]:
    begin = head("text_completion", "cmpl", body.model)
    written, lengths, ends = 0, [0] * len(echoes), []

    def chunk(number: int, text: str, **more: Any) -> str:
        choice = {"index": number, "text": text, "logprobs": None, "finish_reason": None, **more}
        return event({**begin, "choices": [choice]})

    for number, text in enumerate(echoes):
        if text:
            yield chunk(number, text)
    async for number, each in answering:
        if not isinstance(each, Piece):
            ends.append(each)
            yield chunk(number, "", finish_reason=FINISH[each.reason])
            continue
        written += len(each.tokens)
        more = {}
        if body.logprobs is not None:
            more["logprobs"] = text_logprobs(served.tokenizer, each.tokens, lengths[number])
        lengths[number] += len(each.text)
        if each.text or more:
            yield chunk(number, each.text, **more)
    if body.stream_options is not None and body.stream_options.include_usage:
        yield event({**begin, "choices": [], "usage": usage(count, written, ends)})
    yield event("[DONE]")


def _ids(served: Served, prompt: str | Sequence[int]) -> list[int]:
    return served.text_ids(prompt) if isinstance(prompt, str) else list(prompt)
