"""What Prometheus reads of the server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tfcli.serve.served import Served

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one server, under names that begin with `tfcli_`.

    Args:
        models: by name.
    """

    def __init__(self, models: dict[str, Served]) -> None:
        self._models = models
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tfcli_requests", "Requests.", ("path", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "tfcli_request_seconds",
            "How long requests took.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._first = Histogram(
            "tfcli_first_token_seconds",
            "From a request to the first token.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "tfcli_tokens", "Tokens, by kind.", ("model", "kind"), registry=self._registry
        )
        self._gauges = {
            name: Gauge(f"tfcli_{name}", text, ("model",), registry=self._registry)
            for name, text in (
                ("running", "Texts that are made now."),
                ("unfinished", "Texts that are made or wait."),
                ("prefix_bytes", "Memory that read prefixes take."),
                ("drafted", "Tokens that were drafted."),
                ("kept", "Drafted tokens that came, of texts that have ended."),
            )
        }
        self.paths: frozenset[str] = frozenset()
        """Those that the server has; others are counted together, as they are endless."""

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request was answered, or with status 0 left by its client."""
        known = path if path in self.paths else "other"
        self._requests.labels(known, str(status)).inc()
        self._seconds.labels(known).observe(seconds)

    def first_token(self, model: str, seconds: float) -> None:
        self._first.labels(model).observe(seconds)

    def tokens(self, model: str, *, read: int, cached: int, written: int) -> None:
        """Tokens of a request: of the prompt, of these not read anew, and of the answer."""
        for kind, count in (("prompt", read), ("cached", cached), ("answer", written)):
            self._tokens.labels(model, kind).inc(count)

    def text(self) -> bytes:
        """All of them, in Prometheus's format."""
        for name, each in self._models.items():
            self._gauges["running"].labels(name).set(each.engine.running)
            self._gauges["unfinished"].labels(name).set(each.engine.unfinished)
            self._gauges["prefix_bytes"].labels(name).set(each.engine.remembered_bytes)
            self._gauges["drafted"].labels(name).set(each.engine.drafted)
            self._gauges["kept"].labels(name).set(each.engine.kept)
        return generate_latest(self._registry)
