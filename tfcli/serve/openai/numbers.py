"""POST /v1/embeddings and /v1/rerank: vectors of texts, and how well documents fit a query."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request

from tfcli.limits import MAX_TEXTS
from tfcli.serve.http.errors import ApiError
from tfcli.serve.scored import VECTORS
from tfcli.serve.server import Server
from tfcli.serve.wishes import Body, Ids

Texts = Annotated[list[str | Ids], Field(min_length=1, max_length=MAX_TEXTS)]


class EmbeddingBody(Body):
    """What is asked for."""

    model: str
    input: str | Ids | Texts
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None


async def embeddings(server: Server, request: Request) -> Any:
    """POST /v1/embeddings."""
    body = EmbeddingBody.model_validate_json(await request.body())
    scored = server.scored(body.model)
    if scored.task != VECTORS:
        raise ApiError(400, f"{body.model} makes no vectors", param="model")
    one = isinstance(body.input, str) or isinstance(body.input[0], int)
    texts: Any = [body.input] if one else body.input
    vectors, read = await server.computed(lambda: scored.vectors(texts))
    data = [
        {"object": "embedding", "index": number, "embedding": row.tolist()}
        if body.encoding_format == "float"
        else {
            "object": "embedding",
            "index": number,
            "embedding": base64.b64encode(row.numpy().astype("<f4").tobytes()).decode(),
        }
        for number, row in enumerate(vectors)
    ]
    used = {"prompt_tokens": read, "total_tokens": read}
    return {"object": "list", "data": data, "model": body.model, "usage": used}


class RerankBody(Body):
    """What is asked for, as in Cohere's and Jina's interfaces."""

    model: str
    query: Annotated[str, Field(min_length=1)]
    documents: Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)]
    top_n: Annotated[int | None, Field(ge=1)] = None
    return_documents: bool = False


async def rerank(server: Server, request: Request) -> Any:
    """POST /v1/rerank: the best document first."""
    body = RerankBody.model_validate_json(await request.body())
    scored = server.scored(body.model)
    scores, read = await server.computed(lambda: scored.scores(body.query, body.documents))
    found = sorted(enumerate(scores.tolist()), key=lambda pair: -pair[1])
    results = [
        {
            "index": number,
            "relevance_score": score,
            **({"document": {"text": body.documents[number]}} if body.return_documents else {}),
        }
        for number, score in found[: body.top_n]
    ]
    return {"model": body.model, "results": results, "usage": {"total_tokens": read}}
