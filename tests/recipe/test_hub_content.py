"""The commit stands for a model on the hub as long as the cache holds what the hub has."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from huggingface_hub import constants

from tfcli.convert.spec import ConvertSpec
from tfcli.errors import WorkError
from tfcli.hub import Located
from tfcli.hub_choice import Choice, HubRef
from tfcli.recipe.digests import InputDigests
from tfcli.recipe.hub_content import look_at_hub
from tfcli.recipe.record import step_key

COMMIT = "a" * 40
SPEC = ConvertSpec(source="org/name", output="out")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in the hub's cache, in offline mode, without files."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "hub/models--org--name"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text(COMMIT)
    (home / "blobs").mkdir()
    (home / "snapshots" / COMMIT).mkdir(parents=True)
    return home


def fetched(home: Path, name: str, content: bytes, blob: str | None) -> Path:
    """Put a file into the cache as the hub's client does; without links where it has no blob."""
    place = home / "snapshots" / COMMIT / name
    if blob is None:
        place.write_bytes(content)
        return place
    (home / "blobs" / blob).write_bytes(content)
    place.symlink_to(os.path.relpath(home / "blobs" / blob, place.parent))
    return home / "blobs" / blob


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_files_that_are_named_after_their_hash_are_the_commit_s(home: Path) -> None:
    config = fetched(home, "config.json", b"{}", git_hash(b"{}"))
    weights = fetched(home, "model.safetensors", b"w" * 9, hashlib.sha256(b"w" * 9).hexdigest())
    assert dict(InputDigests(SPEC)) == {"org/name": f"commit {COMMIT}"}
    for file in (config, weights):
        content = file.read_bytes()
        file.write_bytes(content[::-1].swapcase() + b" ")
        with pytest.raises(WorkError, match="is not what the hub has") as caught:
            dict(InputDigests(SPEC))
        assert str(file) in str(caught.value.fix)
        file.write_bytes(content)


def test_files_without_a_hash_in_their_name_have_one_of_their_own(home: Path) -> None:
    fetched(home, "config.json", b"{}", None)
    weights = fetched(home, "model.safetensors", b"weights", None)
    before = InputDigests(SPEC)
    assert before["org/name"].startswith(f"commit {COMMIT}, sha256 ")
    weights.write_bytes(b"WEIGHTS")
    assert step_key(SPEC, InputDigests(SPEC)) != step_key(SPEC, before)


def test_files_that_are_fetched_by_the_step_are_looked_at_then(home: Path) -> None:
    choice = Choice(("config.json", "model.safetensors"))
    fetched(home, "config.json", b"{}", git_hash(b"{}"))
    seen = look_at_hub(Located(HubRef("org/name"), COMMIT, choice))
    assert (seen.is_here, seen.digest()) == (False, f"commit {COMMIT}")
    blob = fetched(home, "model.safetensors", b"damaged", hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(WorkError, match="is not what the hub has"):
        seen.again().digest()
    blob.write_bytes(b"weights")
    assert seen.again().is_here and seen.again().digest() == f"commit {COMMIT}"
