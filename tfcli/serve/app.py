"""The application: which path is answered by what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tfcli.console import Console
from tfcli.serve.anthropic.messages import count_tokens, messages
from tfcli.serve.blame import told
from tfcli.serve.http.errors import ApiError, api_error, response
from tfcli.serve.http.guard import LOOPBACK, Guard
from tfcli.serve.openai import numbers, others
from tfcli.serve.openai.chat import chat
from tfcli.serve.openai.completions import completions
from tfcli.serve.openai.responses import responses
from tfcli.serve.server import Server
from tfcli.serve.spec import MIB, ServeSpec

Handler = Callable[[Server, Request], Awaitable[Any]]

HANDLERS: dict[tuple[str, str], Handler] = {
    ("POST", "/v1/chat/completions"): chat,
    ("POST", "/v1/completions"): completions,
    ("POST", "/v1/responses"): responses,
    ("POST", "/v1/embeddings"): numbers.embeddings,
    ("POST", "/v1/rerank"): numbers.rerank,
    ("POST", "/v1/messages"): messages,
    ("POST", "/v1/messages/count_tokens"): count_tokens,
    ("GET", "/v1/models"): others.models,
    ("GET", "/v1/models/{name:path}"): others.model,
    ("POST", "/tokenize"): others.tokenize,
    ("POST", "/detokenize"): others.detokenize,
}
"""Method and path -> what answers."""


_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The page runs what is in it, and talks to this server alone."""


def make_app(server: Server, spec: ServeSpec, console: Console) -> Guard:
    """The application of a server, guarded."""
    # Its own pages would load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for (method, path), handler in HANDLERS.items():
        app.add_route(path, _endpoint(handler, server, console), methods=[method])
    guard = Guard(
        app,
        server.metrics,
        api_key=spec.api_key,
        max_body=spec.max_body * MIB,
        read_timeout=spec.read_timeout,
        local=spec.host in LOOPBACK,
    )

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    page = files("tfcli.serve.page").joinpath("index.html").read_bytes()

    async def index(request: Request) -> Response:
        policy = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
        return Response(page, media_type="text/html", headers=policy)

    app.add_route("/", index, methods=["GET"])
    app.add_route("/health", health, methods=["GET"])
    app.add_route("/metrics", metrics, methods=["GET"])
    server.metrics.paths = frozenset(
        {path for _, path in HANDLERS if "{" not in path} | {"/health", "/metrics", "/"}
    )

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = "there is no such path" if error.status_code == 404 else str(error.detail)
        return response(request, ApiError(error.status_code, f"{request.url.path}: {said}"))

    app.add_exception_handler(HTTPException, unknown)
    return guard


def _endpoint(
    handler: Handler, server: Server, console: Console
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            found = await handler(server, request)
        except Exception as error:  # noqa: BLE001 - the boundary: every error becomes an answer
            if api_error(error).status == 500:
                console.warn(f"{request.url.path}: {told(error)}")
            return response(request, error)
        return found if isinstance(found, Response) else JSONResponse(found)

    return endpoint
