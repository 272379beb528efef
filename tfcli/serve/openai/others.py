"""What has no text to make: the models, and the tokens of a text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator
from starlette.requests import Request

from tfcli.serve.openai.messages import Message
from tfcli.serve.server import Server
from tfcli.serve.wishes import Body


async def models(server: Server, request: Request) -> Any:
    """GET /v1/models: those that requests can name."""
    return {"object": "list", "data": [_model(server, name) for name in server.models]}


async def model(server: Server, request: Request) -> Any:
    """GET /v1/models/{name}."""
    name = request.path_params["name"]
    server.model(name)
    return _model(server, name)


def _model(server: Server, name: str) -> dict[str, Any]:
    served = server.model(name)
    return {
        "id": name,
        "object": "model",
        "created": server.began,
        "owned_by": "tfcli",
        "max_model_len": served.checkpoint.model_config.text.longest_text,
    }


class TokenizeBody(Body):
    """A text, or a conversation as its model reads it."""

    model: str
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    add_special_tokens: bool = True

    @model_validator(mode="after")
    def _has_one(self) -> TokenizeBody:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give a prompt or messages, and not both")
        return self


async def tokenize(server: Server, request: Request) -> Any:
    """POST /tokenize: the ids of a text, and how many there are."""
    body = TokenizeBody.model_validate_json(await request.body())
    model = server.model(body.model)
    if body.messages is not None:
        served = server.served(body.model)
        messages = [message.for_template() for message in body.messages]
        ids = await server.thought(lambda: served.read(messages).ids)
    else:
        text = body.prompt or ""
        ids = await server.thought(
            lambda: model.tokenizer.encode(text, add_special_tokens=body.add_special_tokens)
        )
    longest = model.checkpoint.model_config.text.longest_text
    return {"tokens": ids, "count": len(ids), "max_model_len": longest}


class DetokenizeBody(Body):
    """Ids of a text."""

    model: str
    tokens: list[Annotated[int, Field(ge=0, lt=1 << 31)]]


async def detokenize(server: Server, request: Request) -> Any:
    """POST /detokenize: the text of ids."""
    body = DetokenizeBody.model_validate_json(await request.body())
    served = server.model(body.model)
    text = await server.thought(lambda: served.tokenizer.decode(body.tokens, False))
    return {"prompt": text}
