"""run.json and .key.json: read strictly, and believed where they are as they were written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tfcli.checkpoints.card import Origin, card_text
from tfcli.evaluate.spec import EvalSpec
from tfcli.files import write_json
from tfcli.recipe.record import (
    RECORD,
    STAGED,
    RunRecord,
    is_edited,
    is_intact,
    is_ours,
    make_record,
    read_record,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact of two files, one of them hidden, with its record."""
    folder = tmp_path / "artifact"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/weights").write_bytes(b"weights")
    (folder / ".metadata").write_bytes(b"what is where")
    (folder / STAGED).write_text("{}")
    spec = EvalSpec(model="m", data="d", output=str(folder))
    result = {"schema": "tfcli.eval/1", "perplexity": 2.5, "windows": 3}
    inputs = {"m": "commit 1", "d": "00"}
    write_json(folder / RECORD, make_record(spec, "key", inputs, folder, result, datetime.now(UTC)))
    return folder


def record_of(folder: Path) -> RunRecord:
    record = read_record(folder)
    assert record is not None
    return record


def edit(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, **changes}))


def test_a_record_lists_every_file_but_itself_and_the_mark(folder: Path) -> None:
    record = record_of(folder)
    assert set(record["files"]) == {"deep/weights", ".metadata"}
    assert is_intact(folder, record) and not is_edited(record)


@pytest.mark.parametrize(
    "changes",
    [
        {"result": {"schema": "tfcli.eval/1", "perplexity": 1.5, "windows": 3}},
        {"seconds": 0.001},
        {"inputs": {"m": "commit 2", "d": "00"}},
        {"files": {}},
        {"seal": "0" * 64},
    ],
)
def test_an_edited_figure_is_noticed(folder: Path, changes: dict[str, Any]) -> None:
    edit(folder, **changes)
    record = record_of(folder)
    assert is_edited(record)
    assert not is_intact(folder, record)


@pytest.mark.parametrize("name", ["deep/weights", ".metadata"])
def test_a_changed_or_missing_file_is_noticed(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[::-1])
    assert not is_intact(folder, record_of(folder))
    (folder / name).unlink()
    assert not is_intact(folder, record_of(folder))


def test_a_file_of_a_users_own_does_no_harm(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    assert is_intact(folder, record_of(folder))


def test_a_record_that_names_files_elsewhere_is_not_believed(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(b"weights")
    record = record_of(folder)
    record["files"]["../outside"] = record["files"]["deep/weights"]
    write_json(folder / RECORD, record)
    assert not is_intact(folder, record_of(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "tfcli.run/2"},
        {"key": None},
        {"command": 3},
        {"spec": []},
        {"inputs": {"m": 1}},
        {"files": None},
        {"files": {"x": {"bytes": -1, "sha256": ""}}},
        {"files": {"x": {"bytes": True, "sha256": ""}}},
        {"result": None},
        {"seconds": "1"},
        {"machine": {}},
        {"versions": [1]},
    ],
)
def test_what_does_not_fit_is_no_record_and_still_ours(
    folder: Path, changes: dict[str, Any]
) -> None:
    edit(folder, **changes)
    assert read_record(folder) is None
    assert is_ours(folder)


@pytest.mark.parametrize(
    ("content", "ours"),
    [
        (b'{\n  "schema": "tfcli.run/1",\n  "comm', True),
        (b"", False),
        (b"{}", False),
        (b"[" * 100_000, False),
        (b'{"schema": "other.run/1"}', False),
        (b'{"note": "about tfcli.run/1"}', False),
    ],
)
def test_a_damaged_record_is_ours_where_it_begins_so(
    tmp_path: Path, content: bytes, ours: bool
) -> None:
    (tmp_path / RECORD).write_bytes(content)
    assert read_record(tmp_path) is None
    assert is_ours(tmp_path) is ours


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"schema": 1}'])
def test_a_damaged_record_beside_a_card_of_ours_is_ours(tmp_path: Path, content: str) -> None:
    card = card_text("converted", [Origin("source", "org/name")], {}, {})
    (tmp_path / "README.md").write_text(card)
    assert not is_ours(tmp_path)  # as a download, without what says how it was made
    (tmp_path / RECORD).write_text(content)
    assert is_ours(tmp_path)
    (tmp_path / "README.md").write_text("# My own\n")
    assert not is_ours(tmp_path)
