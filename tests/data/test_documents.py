"""Text files in, documents out, and errors that give file and line."""

import json

import pytest

from tfcli.data.documents import load_documents, read_documents
from tfcli.errors import UsageError, WorkError


@pytest.fixture
def write(tmp_path):
    def to(name: str, data: str | bytes):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return to


def test_a_txt_file_is_one_document_byte_for_byte(write):
    assert read_documents(write("a.txt", "one\r\n\r\ntwo\n")) == ["one\r\n\r\ntwo\n"]


def test_a_jsonl_file_is_one_document_a_line(write):
    separator = json.dumps({"text": "a\u2028b"}, ensure_ascii=False)
    path = write("a.jsonl", '{"id": "x", "text": "one"}\n\n{"text": "two"}\n' + separator)
    found = load_documents(path)
    assert [d.id for d in found] == ["x", "a.jsonl:3", "a.jsonl:4"]
    assert [d.text for d in found] == ["one", "two", "a\u2028b"]


def test_another_field_can_hold_the_text(write):
    assert read_documents(write("a.jsonl", '{"body": "one"}'), "body") == ["one"]


def test_a_folder_is_its_txt_files_in_the_order_of_their_names(write):
    write("f/b.txt", "second")
    folder = write("f/a/z.txt", "first").parent.parent
    write("f/notes.md", "not read")
    assert [(d.id, d.text) for d in load_documents(folder)] == [
        ("a/z.txt", "first"),
        ("b.txt", "second"),
    ]


def test_a_folder_of_splits_gives_the_split_that_is_asked_for(write):
    write("f/train.jsonl", '{"text": "learn"}')
    folder = write("f/test.jsonl", '{"text": "judge"}').parent
    assert read_documents(folder) == ["learn"]
    assert read_documents(folder, split="test") == ["judge"]
    with pytest.raises(UsageError, match=r"no validation\.jsonl"):
        read_documents(folder, split="validation")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_give_a_document_a_row(tmp_path, suffix):
    from datasets import Dataset

    table = Dataset.from_dict({"text": ["one", "two"], "n": [1, 2]})
    path = tmp_path / f"t.{suffix}"
    getattr(table, f"to_{suffix}")(str(path))
    assert read_documents(path) == ["one", "two"]
    with pytest.raises(WorkError, match="no column 'txt'"):
        read_documents(path, "txt")
    with pytest.raises(WorkError, match="row 1 of 'n' is not text"):
        read_documents(path, "n")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_broken_table_is_named(write, suffix):
    with pytest.raises(WorkError, match="not readable as a table") as error:
        read_documents(write(f"t.{suffix}", b'\x00\xff"broken'))
    assert error.value.where.endswith(suffix)


def test_a_missing_library_names_the_extra(write, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(WorkError) as error:
        read_documents(write("t.csv", "text\none\n"))
    assert "tfcli[data]" in error.value.fix


@pytest.mark.parametrize(
    ("data", "what", "line"),
    [
        ('{"text": "a"}\n{"txet": "b"}', "no 'text'", 2),
        ('{"text": "a"}\n\n["b"]', "not a JSON object", 3),
        ('{"text": "a"', "not JSON", 1),
        ('{"text": 7}', "'text' is not text", 1),
        ('{"text": "\\ud800"}', "half of a surrogate pair", 1),
        ("[" * 100_000, "not JSON", 1),
    ],
)
def test_a_bad_line_is_named(write, data, what, line):
    with pytest.raises(WorkError, match=what) as error:
        read_documents(write("a.jsonl", data))
    assert error.value.where.endswith(f"a.jsonl:{line}")


@pytest.mark.parametrize("data", ["", " \n\n"])
def test_no_text_is_an_error(write, data):
    with pytest.raises(WorkError, match="no text"):
        read_documents(write("a.txt", data))


def test_what_is_not_text_is_an_error(write, tmp_path):
    with pytest.raises(WorkError, match=r"not UTF-8 text \(byte 2\)"):
        read_documents(write("a.txt", b"ok\xff"))
    with pytest.raises(UsageError, match=r"'\.pdf' are not read"):
        read_documents(write("a.pdf", "x"))
    with pytest.raises(UsageError, match="no such file"):
        read_documents(tmp_path / "none.txt")
    with pytest.raises(WorkError, match=r"no \.txt files"):
        read_documents(write("empty/x.md", "x").parent)
