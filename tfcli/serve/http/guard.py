"""What every request passes before anything reads it: the key, sizes, times, and the end."""

from __future__ import annotations

import asyncio
import hmac
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tfcli.serve.http.errors import ApiError, response
from tfcli.serve.http.metrics import Metrics

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = ("/health", "/")
"""What needs no key: whether the server lives, and the page, which asks for it."""


class Guard:
    """The outermost layer of the server.

    Args:
        app: what is guarded.
        metrics: are told of each request.
        api_key: that requests carry; None: none.
        max_body: bytes.
        read_timeout: seconds in which a body comes, and in which a client takes what is sent.
        local: the server listens to this machine alone, under names of this machine.

    Attributes:
        draining: new requests are refused with 503; those that run go on.
        running: requests that are being answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        api_key: str | None,
        max_body: int,
        read_timeout: float,
        local: bool,
    ) -> None:
        self._app, self._metrics, self._key = app, metrics, api_key
        self._max_body, self._timeout = max_body, read_timeout
        self._local = local
        self.draining = False
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = monotonic(), 0
        request = Request(scope)

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            # A client that reads nothing any more must not hold its place for ever.
            await asyncio.wait_for(send(message), self._timeout)

        self.running += 1
        try:
            self._check(request)
            body = await self._body(request, receive)
            await self._app(scope, _replayed(body, receive), sending)
        except ApiError as error:
            await response(request, error)(scope, receive, sending)
        except (TimeoutError, OSError):  # the client reads nothing, or is gone
            return
        finally:
            self.running -= 1
            self._metrics.request(request.url.path, status, monotonic() - began)

    def _check(self, request: Request) -> None:
        self._check_origin(request)
        if self.draining and request.url.path != "/metrics":
            raise ApiError(503, "the server ends, and takes no new requests")
        if self._key is not None and request.url.path not in OPEN:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            given = request.headers.get("x-api-key") or given
            if not hmac.compare_digest(given.encode(), self._key.encode()):
                raise ApiError(401, "the API key is missing or wrong", code="invalid_api_key")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._max_body:
            raise self._too_large()

    def _check_origin(self, request: Request) -> None:
        """Refuse what a page from elsewhere asks for in a user's browser, also one whose own name
        was made to point to this machine."""
        host = request.headers.get("host", "")
        if self._local and request.url.hostname not in LOOPBACK:
            raise ApiError(403, f"{host} is no name of this machine")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise ApiError(403, "pages from elsewhere may not ask this server")

    async def _body(self, request: Request, receive: Receive) -> bytes:
        """The whole body, as far as it keeps to the limits."""
        found = bytearray()
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ApiError(408, "the client went away")
                    found += message.get("body", b"")
                    if len(found) > self._max_body:
                        raise self._too_large()
                    if not message.get("more_body"):
                        return bytes(found)
        except TimeoutError:
            raise ApiError(408, f"the body took longer than {self._timeout:g} seconds") from None

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self._max_body:,} bytes")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read, and then what comes after it."""
    given = False

    async def receiving() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
