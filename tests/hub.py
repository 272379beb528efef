"""A small hub on this machine, which serves one folder."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.hf_api
import pytest
from huggingface_hub import constants

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Serves one folder as every model.

    Attributes:
        folder: what is served.
        asked: how often each file was sent.
        fails: a file that is refused.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.fails: str | None = None


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = "/".join(path.split("/resolve/")[-1].split("/")[1:])
        home = self.server.folder
        files = sorted(one for one in home.rglob("*") if one.is_file())
        names = [one.relative_to(home).as_posix() for one in files]
        if "/resolve/" in path and name == self.server.fails:
            self.answer(403, b"")
        elif "/resolve/" in path:
            if self.command == "GET":
                self.server.asked[name] += 1
            self.send_file((self.server.folder / name).read_bytes(), name)
        elif "/tree/" in path:
            tree = [
                {"type": "file", "path": name, "size": one.stat().st_size, "oid": name}
                for name, one in zip(names, files, strict=True)
            ]
            self.answer(200, json.dumps(tree).encode())
        else:
            siblings = [
                {"rfilename": name, "size": one.stat().st_size}
                for name, one in zip(names, files, strict=True)
            ]
            about = {"id": "org/any", "sha": COMMIT, "siblings": siblings}
            self.answer(200, json.dumps(about).encode())

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def send_file(self, content: bytes, name: str) -> None:
        """The file, or the part of it that is asked for."""
        tag = {"ETag": f'"{name.replace("/", "-")}"'}
        asked = self.headers.get("Range", "")
        if not asked or self.command != "GET":
            self.server.sent[name] += len(content)
            self.answer(200, content, **tag)
            return
        first, last = map(int, asked.removeprefix("bytes=").split("-"))
        part = content[first : last + 1]
        self.server.sent[name] += len(part)
        place = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        self.answer(206, part, **tag, **{"Content-Range": place})

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers |= {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test output clean."""


@contextmanager
def serving(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the hub's client asks, with an empty cache below `home`."""
    server = Hub(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(home / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HOME", str(home / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "cache"))
    yield server
    server.shutdown()
    server.server_close()


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the hub's client ask this address."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + template)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
