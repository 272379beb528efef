"""Whole files or none, and names that stay in their folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import WorkError
from tfcli.files import (
    digest_file,
    expanded,
    git_digest,
    inside,
    sync_folder,
    write_json,
    write_text,
)


def test_a_text_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")
    held = path.open()
    write_text(path, "nëw")
    assert held.read() == "old"  # a new file took the name; the old one was not written to
    assert path.read_text(encoding="utf-8") == "nëw"
    assert [item.name for item in tmp_path.iterdir()] == ["note.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["note.txt"]


def test_json_there_and_back(tmp_path: Path) -> None:
    value = {"name": "ü", "list": [1, None, 2.5]}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_unreadable_json_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(WorkError, match="not valid JSON") as error:
        read_json(path)
    assert error.value.where == str(path)


def test_missing_json(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"there is no gone\.json"):
        read_json(tmp_path / "gone.json")


def test_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert digest_file(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_a_folder_with_subfolders_can_be_synced(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("x")
    sync_folder(tmp_path)


@pytest.mark.parametrize("name", ["x.txt", "sub/x.txt", "..x", "x..y"])
def test_names_inside(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["", "/x", "..", "../x", "a/../../x", "a\\..\\x", "x\0y"])
def test_names_that_could_lead_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(WorkError, match="leads outside") as error:
        inside(tmp_path, name)
    assert error.value.where == str(tmp_path)


def test_links(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "out").write_text("secret")
    (folder / "in").write_text("x")
    (folder / "good").symlink_to("in")
    (folder / "bad").symlink_to(tmp_path / "out")
    (folder / "up").symlink_to(tmp_path)
    assert inside(folder, "good").read_text() == "x"
    for name in ("bad", "up/out"):
        with pytest.raises(WorkError, match="link to a place outside"):
            inside(folder, name)


def test_only_hub_snapshots_may_link_to_blobs(tmp_path: Path) -> None:
    snapshot = tmp_path / "repo/snapshots/abc"
    other = tmp_path / "repo/copies/abc"
    blobs = tmp_path / "repo/blobs"
    for folder in (snapshot, other, blobs):
        folder.mkdir(parents=True)
    (blobs / "1234").write_text("x")
    for folder in (snapshot, other):
        (folder / "weights").symlink_to(blobs / "1234")
        (folder / "config").symlink_to(tmp_path / "repo")
    assert inside(snapshot, "weights").read_text() == "x"
    with pytest.raises(WorkError):
        inside(snapshot, "config")
    with pytest.raises(WorkError):
        inside(other, "weights")


def test_a_home_that_nobody_has_is_a_name_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/m") == tmp_path / "m"
    assert expanded("~nobody-of-this-name/m") == Path("~nobody-of-this-name/m")


def test_a_hash_of_gits_is_what_git_says(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"what is up, doc?")
    # Of the book "Pro Git", chapter 10.2.
    assert git_digest(tmp_path / "a") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
