"""Streams of server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tfcli.serve.http.answering import Answering
from tfcli.serve.http.errors import api_error, content


def event(data: Mapping[str, Any] | str, name: str | None = None) -> str:
    """One event, as it goes over the wire."""
    said = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {said}\n\n" if name is None else f"event: {name}\ndata: {said}\n\n"


class _Stream(StreamingResponse):
    """One whose texts end with it, also where the client left before anything was sent."""

    def __init__(self, events: AsyncIterator[str], answering: Answering) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answering.cancel()


def stream(
    request: Request, answering: Answering, events: AsyncIterator[str], failed: str | None = None
) -> Response:
    """The answer that sends events as they come. An error that comes late is an event too.

    Args:
        request: that is answered.
        answering: whose texts the events tell of.
        events: see `event`.
        failed: name of the event that tells of an error.
    """

    async def sent() -> AsyncIterator[str]:
        try:
            async for each in events:
                yield each
        except Exception as error:  # noqa: BLE001 - the status is sent; all that is left is an event
            yield event(content(api_error(error), request.url.path), failed)

    return _Stream(sent(), answering)
