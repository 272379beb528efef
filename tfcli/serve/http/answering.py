"""From an engine's thread to the coroutine that answers a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

from starlette.requests import Request

from tfcli.serve.ask import Ask, End, Event, Piece, Token
from tfcli.serve.engine import Engine
from tfcli.serve.http.errors import ApiError

_LOOK = 0.2  # seconds between two looks whether the client is still there


class Answering:
    """The texts of one request while they are made. Those that nobody waits for are cancelled.

    Args:
        engine: that makes them.
        asks: what is wanted; all of them are submitted, or none.
        request: whose client may go away.

    Raises:
        BusyError, WorkError: see `Engine.submit`.
    """

    def __init__(self, engine: Engine, asks: Sequence[Ask], request: Request) -> None:
        loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._engine, self._request = engine, request
        self._open = len(asks)
        self._looked = monotonic()
        self._rows = []

        def tell(number: int, event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody listens any more
                loop.call_soon_threadsafe(self._queue.put_nowait, (number, event))

        try:
            for number, ask in enumerate(asks):
                self._rows.append(engine.submit(ask, partial(tell, number)))
        except Exception:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Nobody waits any more."""
        for row in self._rows:
            if not row.ended:
                self._engine.cancel(row)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        """The number of a text and what came to it, until all have ended.

        Raises:
            Problem: a text failed.
            ApiError: the client went away, or the server ends.
        """
        try:
            while self._open:
                number, event = await self._next()
                if isinstance(event, End):
                    self._open -= 1
                    if event.error is not None:
                        raise event.error
                    if event.reason == "cancelled":
                        raise ApiError(503, "the server ends", code="cancelled")
                yield number, event
        finally:
            self.cancel()

    async def whole(self) -> list[tuple[str, list[Token], End]]:
        """Each text, its tokens and its end."""
        texts: dict[int, list[str]] = {}
        tokens: dict[int, list[Token]] = {}
        ends: dict[int, End] = {}
        async for number, event in self:
            if isinstance(event, Piece):
                texts.setdefault(number, []).append(event.text)
                tokens.setdefault(number, []).extend(event.tokens)
            else:
                ends[number] = event
        return [
            ("".join(texts.get(number, [])), tokens.get(number, []), ends[number])
            for number in sorted(ends)
        ]

    async def _next(self) -> tuple[int, Event]:
        while True:
            if monotonic() - self._looked > _LOOK:
                self._looked = monotonic()
                if await self._request.is_disconnected():
                    raise ApiError(408, "the client went away")
            try:
                return await asyncio.wait_for(self._queue.get(), _LOOK)
            except TimeoutError:
                continue
