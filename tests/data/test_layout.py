"""Folders that are laid out as data sets on the hub, and the hub itself."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import errors

from tests.hub import serving
from tfcli.data.documents import read_documents
from tfcli.data.layout import configs, find_data, here
from tfcli.data.rows import read_rows
from tfcli.errors import UsageError, WorkError

DECLARED = """---
license: mit
configs:
- config_name: en
  data_files:
  - split: train_sft
    path: "english/a-*.jsonl"
  - split: test
    path: ["english/b.jsonl"]
- config_name: de
  data_files: "german/**"
---
Some words.
"""


def write(folder: Path, *names: str) -> Path:
    """Files of a row or two, which say where they are from."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": f"{name} {number}"} for number in range(2)]
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def declared(tmp_path):
    folder = tmp_path / "set"
    names = ("english/a-1.jsonl", "english/a-2.jsonl", "english/b.jsonl", "german/train/x.parquet")
    write(folder, *names, "german/test/y.parquet", "extra.jsonl")
    (folder / "README.md").write_text(DECLARED)
    return folder


def seen(ref, split="train") -> list[str]:
    """The files whose rows are read, both as rows and as texts."""
    rows = [row.values["text"].split()[0] for row in read_rows(ref, split=split)]
    assert [text.split()[0] for text in read_documents(ref, split=split)] == rows
    return rows[::2]


def test_files_are_those_that_the_readme_names(declared):
    assert seen(f"{declared}:en", "train_sft") == ["english/a-1.jsonl", "english/a-2.jsonl"]
    assert seen(f"{declared}:en", "test") == ["english/b.jsonl"]
    assert seen(f"{declared}:de") == ["german/train/x.parquet"]


@pytest.mark.parametrize(
    ("config", "split", "match", "fix"),
    [
        ("", "train", "2 configurations: en, de", ":en"),
        (":fr", "train", "no configuration 'fr'", "en"),
        (":en", "train", "no train.jsonl, nor other files of a split 'train'", "train_sft, test"),
    ],
)
def test_what_is_not_there_is_named(declared, config, split, match, fix):
    with pytest.raises(UsageError, match=match) as error:
        read_rows(f"{declared}{config}", split=split)
    assert fix in error.value.fix


def test_without_a_readme_folders_and_names_say_it(tmp_path):
    folder = write(
        tmp_path / "s", *(f"{c}/{s}-0-of-1.parquet" for c in "ab" for s in ("train", "test"))
    )
    assert seen(folder) == ["a/train-0-of-1.parquet", "b/train-0-of-1.parquet"]
    assert seen(f"{folder}:b", "test") == ["b/test-0-of-1.parquet"]
    with pytest.raises(UsageError, match="no configuration 'c'"):
        read_rows(f"{folder}:c")
    folder = write(tmp_path / "t", "data/train_sft-0.jsonl", "data/test_sft-0.jsonl")
    assert seen(folder, "test_sft") == ["data/test_sft-0.jsonl"]


def test_other_words_in_a_readme_say_nothing_of_files():
    for text in (
        "",
        "no front matter",
        "---\na: [\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\nx\n---\n",
    ):
        assert configs(text) == {}


def test_a_colon_behind_a_folder_is_a_configuration_and_no_other(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    assert here(tmp_path / "a.jsonl").config is None
    assert here(f"{tmp_path}:x").config == "x"
    assert here(f"{tmp_path / 'a.jsonl'}:x") is None
    with pytest.raises(UsageError, match="no such file or folder"):
        find_data(f"{tmp_path}/b.jsonl")
    with pytest.raises(UsageError, match="no such file or folder"):
        find_data("rows.jsonl")


def test_the_files_of_a_split_are_fetched_and_no_other(declared, tmp_path, monkeypatch):
    with serving(declared, tmp_path, monkeypatch) as hub:
        assert seen("org/any:en", "test") == ["english/b.jsonl"]
        asked = {name for name, count in hub.asked.items() if count}
    assert asked == {"README.md", "english/b.jsonl"}
    # From the cache, when the hub is away.
    assert seen("org/any:en", "test") == ["english/b.jsonl"]


def test_a_data_set_without_files_of_rows_says_where_others_are(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "loader.py").write_text("raise SystemExit")
    with (
        serving(folder, tmp_path, monkeypatch),
        pytest.raises(UsageError, match="made by code, which is not run") as error,
    ):
        read_rows("org/any")
    assert error.value.fix.endswith("org/any@refs/convert/parquet")


def test_a_data_set_that_the_hub_refuses_or_has_not_is_told(declared, tmp_path, monkeypatch):
    request = httpx.Request("GET", "https://hub.test")
    for kind, error, match in (
        (errors.GatedRepoError, WorkError, "does not give you access to org/any@v2"),
        (errors.RepositoryNotFoundError, UsageError, "nor a data set on the hub that you can see"),
        (errors.RevisionNotFoundError, UsageError, "has no revision v2"),
    ):

        def refuse(*_, kind=kind, **__):
            raise kind("no", response=httpx.Response(404, request=request))

        with serving(declared, tmp_path, monkeypatch):
            monkeypatch.setattr("huggingface_hub.HfApi.repo_info", refuse)
            with pytest.raises(error, match=match):
                read_rows("org/any@v2")


def test_without_the_hub_a_data_set_that_is_not_in_the_cache_is_told(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WorkError, match=r"org/other is not a folder here .* offline mode is on"):
        read_rows("org/other")
