"""Streams of server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from tfcli.serve.http.errors import api_error, content


def event(data: Mapping[str, Any] | str, name: str | None = None) -> str:
    """One event, as it goes over the wire."""
    said = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {said}\n\n" if name is None else f"event: {name}\ndata: {said}\n\n"


def stream(request: Request, events: AsyncIterator[str], failed: str | None = None) -> Any:
    """The answer that sends events as they come. An error that comes late is an event too.

    Args:
        request: that is answered.
        events: see `event`.
        failed: name of the event that tells of an error.
    """

    async def sent() -> AsyncIterator[str]:
        try:
            async for each in events:
                yield each
        except Exception as error:  # noqa: BLE001 - the status is sent; all that is left is an event
            yield event(content(api_error(error), request.url.path), failed)

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(sent(), media_type="text/event-stream", headers=headers)
