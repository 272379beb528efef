"""The work of `tfcli serve`: load, listen, and end without losing an answer."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.serve.app import make_app
from tfcli.serve.http.guard import Guard
from tfcli.serve.load import serve_model
from tfcli.serve.scored import Scored
from tfcli.serve.served import Served
from tfcli.serve.server import Server
from tfcli.serve.spec import ServeResult, ServeSpec

_BACKLOG = 2048
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(spec: ServeSpec, console: Console, tell: Callable[[ServeResult], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. Requests that run then are answered; new ones get 503.

    Args:
        spec: of the server.
        console: is told what becomes of weights.
        tell: is called when the server listens.

    Raises:
        UsageError: models, adapters or an address that cannot be.
        WorkError: broken files.
    """
    sources = named_models(spec)
    adapters = named_adapters(spec, list(sources))
    listening = _listen(spec)
    models: dict[str, Served | Scored] = {}
    try:
        for name, source in sources.items():
            models |= serve_models(name, source, adapters[name], spec, console)
        server = Server(models)
    except BaseException:
        listening.close()
        for each in models.values():
            each.close()
        raise
    listening.listen(_BACKLOG)  # from now on, so that whoever comes earlier does not hang
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    url = f"http://{host}:{listening.getsockname()[1]}"
    tell(ServeResult(url=url, models=list(models)))
    guard = make_app(server, spec, console)
    config = uvicorn.Config(
        guard,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,  # what is to end well has ended before
    )
    try:
        asyncio.run(_Listener(config, guard, spec.grace).serve([listening]))
    finally:
        server.close()


def serve_models(
    name: str, source: str, adapters: Mapping[str, str], spec: ServeSpec, console: Console
) -> dict[str, Served | Scored]:
    """A model, and the same with each of its adapters, by the names that requests say."""
    made = serve_model(name, source, adapters, spec, console)
    with_adapters = (
        [made.with_adapter(each) for each in adapters] if isinstance(made, Served) else []
    )
    return {each.name: each for each in (made, *with_adapters)}


class _Listener(uvicorn.Server):
    """A server that goes on answering, with 503, until the requests that run have ended."""

    def __init__(self, config: uvicorn.Config, guard: Guard, grace: float) -> None:
        super().__init__(config)
        self._guard, self._grace = guard, grace
        self._ending: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            loop.add_signal_handler(each, self._told_to_end)
        try:
            yield
        finally:
            for each in _SIGNALS:
                loop.remove_signal_handler(each)

    def _told_to_end(self) -> None:
        if self._ending is not None:  # a second time: at once
            self.should_exit = self.force_exit = True
            return
        self._guard.draining = True
        self._ending = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._grace):
                while self._guard.running:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        self.should_exit = True


def named_models(spec: ServeSpec) -> dict[str, str]:
    """Name -> source. A model's name is the last part of its source where none is given.

    Raises:
        UsageError: two have one name.
    """
    found: dict[str, str] = {}
    for each in spec.models:
        name, is_named, source = each.partition("=")
        if not is_named or "/" in name:
            name, source = Path(each).name or Path.cwd().name, each
        if name in found:
            raise UsageError(
                f"two models have the name {name!r}", where="models", fix=f"NAME={source}"
            )
        if ":" in name:
            raise UsageError(
                f"{name!r}: a colon stands between a model and its adapter",
                where="models",
                fix=f"NAME={source}",
            )
        found[name] = source
    return found


def named_adapters(spec: ServeSpec, models: list[str]) -> dict[str, dict[str, str]]:
    """Name of a model -> its adapters: name -> folder.

    Raises:
        UsageError: what names no adapter, or a model that is not served.
    """
    found: dict[str, dict[str, str]] = {name: {} for name in models}
    for each in spec.adapters:
        name, is_named, folder = each.partition("=")
        model, of_model, adapter = name.rpartition(":")
        if not is_named or not adapter or (not of_model and len(models) > 1):
            raise UsageError(
                f"{each!r} does not say which adapter of which model it is",
                where="adapters",
                fix="NAME=FOLDER, or MODEL:NAME=FOLDER where several models are served",
            )
        model = model if of_model else models[0]
        if model not in found or adapter in found[model]:
            raise UsageError(
                f"{each!r}: there is no model {model!r}, or it has an adapter of that name",
                where="adapters",
            )
        found[model][adapter] = folder
    return found


def _listen(spec: ServeSpec) -> socket.socket:
    """A socket, before minutes of loading end in an address that is taken."""
    family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((spec.host, spec.port))
    except OSError as error:
        listening.close()
        raise WorkError(
            f"{spec.host}:{spec.port} cannot be listened at: {error.strerror}",
            where="port",
            fix="give another --port; 0 takes one that is free",
        ) from error
    return listening
