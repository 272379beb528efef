"""Inputs are hashed once, beside the work, and what goes wrong is told to whoever asks."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from tfcli.convert.spec import ConvertSpec
from tfcli.errors import WorkError
from tfcli.recipe import digests
from tfcli.recipe.digests import InputDigests


def spec(path: Path) -> ConvertSpec:
    return ConvertSpec(source=str(path), output="out")


def test_the_hash_is_that_of_the_content(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")
    assert dict(InputDigests(spec(path))) == {str(path): hashlib.sha256(b"content").hexdigest()}


def test_hashing_goes_on_beside_the_work_and_is_done_once(tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")
    go_on, threads = threading.Event(), []

    def slow(_: Path) -> str:
        threads.append(threading.current_thread())
        assert go_on.wait(60)
        return "hash"

    monkeypatch.setattr(digests, "digest_input", slow)
    found = InputDigests(spec(path))
    found.start()  # comes back although nothing is hashed yet
    found.start()
    go_on.set()
    assert found[str(path)] == "hash" and len(found) == 1
    assert len(threads) == 1 and threads[0] is not threading.main_thread()
    assert threads[0].daemon  # a step that failed does not wait for it


def test_a_file_that_cannot_be_hashed_is_an_error_where_the_hash_is_wanted(tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")

    def broken(_: Path) -> str:
        raise WorkError("the disk fails", where=str(path))

    monkeypatch.setattr(digests, "digest_input", broken)
    found = InputDigests(spec(path))
    found.start()
    for _ in range(2):
        with pytest.raises(WorkError, match="the disk fails"):
            _ = found[str(path)]
