"""What requests are answered with: the models by name, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, time
from typing import TypeVar

from starlette.requests import Request

from tfcli.errors import hint
from tfcli.serve.ask import Ask, Event, Piece
from tfcli.serve.http.answering import Answering
from tfcli.serve.http.errors import ApiError
from tfcli.serve.http.metrics import Metrics
from tfcli.serve.scored import Scored
from tfcli.serve.served import Served

T = TypeVar("T")


class Server:
    """The models that are served.

    Args:
        models: by the names that requests say; those with an adapter share an engine with their
            base.
    """

    def __init__(self, models: Mapping[str, Served | Scored]) -> None:
        self.models = dict(models)
        self.began = int(time())
        writers = {name: each for name, each in self.models.items() if isinstance(each, Served)}
        self._bases = {name: each for name, each in writers.items() if each.adapter is None}
        self.metrics = Metrics(self._bases)
        # One thread, so that long prompts of many clients do not take all cores from the engines.
        self._prompts = ThreadPoolExecutor(1, "prompts")
        self._numbers = ThreadPoolExecutor(1, "numbers")

    def served(self, name: str) -> Served:
        """The model of a name, which makes text.

        Raises:
            ApiError: 404 where there is none, 400 where it makes none.
        """
        found = self.model(name)
        if isinstance(found, Scored):
            raise ApiError(400, f"{name} makes no text; it makes {found.task}", param="model")
        return found

    def scored(self, name: str) -> Scored:
        """The model of a name, which makes vectors or scores.

        Raises:
            ApiError: 404 where there is none, 400 where it makes text.
        """
        found = self.model(name)
        if isinstance(found, Served):
            raise ApiError(400, f"{name} makes text, no vectors or scores", param="model")
        return found

    def model(self, name: str) -> Served | Scored:
        """The model of a name.

        Raises:
            ApiError: 404.
        """
        if name not in self.models:
            message = f"there is no model {name!r}; {hint(name, self.models)}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return self.models[name]

    async def thought(self, work: Callable[[], T]) -> T:
        """What some work gives that takes a while, such as reading a long prompt's letters."""
        return await asyncio.get_running_loop().run_in_executor(self._prompts, work)

    async def computed(self, work: Callable[[], T]) -> T:
        """The same of a model's vectors or scores, which prompts do not wait for."""
        return await asyncio.get_running_loop().run_in_executor(self._numbers, work)

    def answering(self, served: Served, asks: Sequence[Ask], request: Request) -> Answering:
        """The texts of a request, which are counted while they are made."""
        return Counted(self.metrics, served, asks, request)

    def close(self) -> None:
        """End all engines."""
        for each in self._bases.values():
            each.close()
        for threads in (self._prompts, self._numbers):
            threads.shutdown(cancel_futures=True)


class Counted(Answering):
    """An answering whose tokens and times are told to the metrics."""

    def __init__(
        self, metrics: Metrics, served: Served, asks: Sequence[Ask], request: Request
    ) -> None:
        super().__init__(served.engine, asks, request)
        self._metrics = metrics
        self._model = served.name.partition(":")[0] if served.adapter else served.name
        self._read = [len(ask.ids) for ask in asks]

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        began, first = monotonic(), True
        async for number, each in super().__aiter__():
            if not isinstance(each, Piece):
                self._metrics.tokens(
                    self._model, read=self._read[number], cached=each.cached, written=0
                )
            elif each.tokens:
                if first:
                    self._metrics.first_token(self._model, monotonic() - began)
                first = False
                self._metrics.tokens(self._model, read=0, cached=0, written=len(each.tokens))
            yield number, each
