"""References to models: local paths, the hub's cache, and a small hub on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub import use
from tfcli.errors import UsageError, WorkError
from tfcli.hub import resolve

COMMIT = "a" * 40
ANSWERS = {
    "gone": (404, "RepoNotFound"),
    "gated": (403, "GatedRepo"),
    "old": (404, "RevisionNotFound"),
    "broken": (500, ""),
}


FILES = (
    "config.json",
    "consolidated.safetensors",
    "model.safetensors",
    "modeling_own.py",
    "onnx/config.json",
    "pytorch_model.bin",
    "tokenizer.json",
)


# What an older model has. The trainer's arguments are a pickle too, and no weights.
PICKLED = ("config.json", "pytorch_model.bin", "training_args.bin", "tf_model.h5")


class Hub(BaseHTTPRequestHandler):
    """Serves `org/good`, whose files hold their own names, and refuses what ANSWERS lists."""

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].split("/")
        if parts[1] == "org":  # /org/good/resolve/<commit>/<file>
            self.answer(200, "/".join(parts[5:]).encode(), ETag=f'"{parts[5]}"')
        elif parts[4] in ANSWERS:  # /api/models/org/<name>/...
            status, code = ANSWERS[parts[4]]
            self.answer(status, b"", **({"X-Error-Code": code} if code else {}))
        elif parts[5] == "tree":
            files = PICKLED if parts[4] == "pickled" else FILES
            tree = [{"type": "file", "path": f, "size": len(f), "oid": f} for f in files]
            self.answer(200, json.dumps(tree).encode())
        else:
            self.answer(200, json.dumps({"id": "org/good", "sha": COMMIT}).encode())

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache in offline mode."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def online(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on this machine, and a token that must not show up anywhere."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield
    server.shutdown()
    server.server_close()


def in_cache(cache: Path, repo: str, ref: str) -> Path:
    home = cache / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / ref).write_text(COMMIT)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_a_folder_here_wins_over_the_hub(cache: Path, tmp_path: Path) -> None:
    in_cache(cache, "org/name", "main")
    (tmp_path / "org/name").mkdir(parents=True)
    assert resolve("org/name") == Path("org/name")


def test_a_cached_model_is_found_offline(cache: Path) -> None:
    snapshot = in_cache(cache, "org/name", "main")
    assert resolve("org/name") == snapshot
    assert snapshot.name == COMMIT


def test_a_cached_revision_is_found_offline(cache: Path) -> None:
    snapshot = in_cache(cache, "name", "v1.0")
    assert resolve("name@v1.0") == snapshot
    assert resolve(f"name@{COMMIT}") == snapshot


def test_offline_and_not_cached(cache: Path) -> None:
    with pytest.raises(WorkError, match="offline mode is on") as error:
        resolve("org/name@v2")
    assert "org/name@v2" in error.value.what
    assert "HF_HUB_OFFLINE" in str(error.value.fix)


@pytest.mark.parametrize(
    "ref", ["./gone", "/gone/model", "a/b/c", "~/gone", "model.safetensors", "", "a b", "../x"]
)
def test_what_is_no_hub_id_is_a_missing_path(cache: Path, ref: str) -> None:
    with pytest.raises(UsageError, match="no such file or folder") as error:
        resolve(ref)
    assert ref in error.value.what


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("gone", UsageError, "neither a folder here nor a model on the hub"),
        ("gated", WorkError, "does not give you access"),
        ("old@v9", UsageError, "no revision v9"),
        ("broken", WorkError, "cannot be reached"),
    ],
)
def test_what_the_hub_refuses(
    online: None, name: str, kind: type[Exception], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(kind, match=says) as error:
        resolve(f"org/{name}")
    assert error.value.fix  # type: ignore[attr-defined]
    out, err = capfd.readouterr()
    assert "hf_secret" not in str(error.value) + out + err


def test_a_download_takes_neither_code_nor_pickles(
    online: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = resolve("org/good")
    assert folder.name == COMMIT
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: name for name in ("config.json", "model.safetensors", "tokenizer.json")
    }
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve(f"org/good@{COMMIT}") == folder


def test_pickled_weights_are_taken_where_there_are_no_others(online: None, cache: Path) -> None:
    folder = resolve("org/pickled")
    assert {path.name for path in folder.iterdir()} == {"config.json", "pytorch_model.bin"}


def test_a_hub_that_does_not_answer(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(WorkError, match="cannot be reached"):
        resolve("org/name")
