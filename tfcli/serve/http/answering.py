"""From an engine's thread to the coroutine that answers a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from starlette.requests import Request

from tfcli.serve.ask import Ask, End, Event, Piece, Token
from tfcli.serve.engine import Engine
from tfcli.serve.http.errors import ApiError

_LOOK = 0.2  # seconds between two looks whether the client is still there


@dataclass
class Whole:
    """A text that is made.

    Attributes:
        pieces: as they came.
        end: why it ended.
    """

    pieces: list[Piece] = field(default_factory=list)
    end: End = field(default_factory=lambda: End("stop"))

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def tokens(self) -> list[Token]:
        """All of them."""
        return [token for piece in self.pieces for token in piece.tokens]


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

    async def whole(self) -> list[Whole]:
        """Each text, when all have ended."""
        found = [Whole() for _ in self._rows]
        async for number, event in self:
            if isinstance(event, Piece):
                found[number].pieces.append(event)
            else:
                found[number].end = event
        return found

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
