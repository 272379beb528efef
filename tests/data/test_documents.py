"""Text files in, documents out, and errors that give file and line."""

import json
import sys

import pytest

from tfcli.console import Console
from tfcli.data.documents import Conversation, Document, load_documents, read_documents
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


def test_a_line_with_messages_is_a_conversation_where_those_are_asked_for(write):
    talk = [{"role": "user", "content": "hi"}]
    path = write("a.jsonl", '{"text": "one"}\n' + json.dumps({"messages": talk, "id": "x"}))
    found = load_documents(path, chats=True)
    assert found == [
        Document("a.jsonl:1", "one"),
        Conversation("x", "", talk, f"{path}:2"),
    ]
    with pytest.raises(WorkError, match="the line has no 'text'") as error:
        load_documents(path)
    assert error.value.where == f"{path}:2"
    assert "'messages'" in error.value.fix


def test_a_line_with_both_is_its_text(write):
    path = write("a.jsonl", '{"text": "one", "messages": []}')
    assert load_documents(path, chats=True) == [Document("a.jsonl:1", "one")]


def test_another_field_can_hold_the_text(write):
    assert read_documents(write("a.jsonl", '{"body": "one"}'), "body") == ["one"]


def test_a_folder_is_all_its_files_of_every_kind_in_the_order_of_their_names(write):
    write("f/B.TXT", "plain")
    folder = write("f/a/z.jsonl", '{"text": "a line"}').parent.parent
    write("f/c.csv", "text\na row\n")
    write("f/d.md", "more")
    write("f/.hidden.txt", "of a tool")
    assert [(d.id, d.text) for d in load_documents(folder)] == [
        ("B.TXT", "plain"),
        ("a/z.jsonl:1", "a line"),
        ("c.csv:1", "a row"),
        ("d.md", "more"),
    ]


def test_the_files_of_a_folder_that_are_left_out_are_counted_and_named(write, capsys):
    folder = write("f/a.txt", "read").parent
    write("f/a.pdf", "%PDF")
    write("f/notes", "no suffix")
    assert read_documents(folder, console=Console.silent()) == ["read"]
    assert "2 of 3 files are not read as text: a.pdf, notes" in capsys.readouterr().err


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
    assert read_documents(path, "n") == ["1", "2"]


WORDS = ["null", "NA", "nan", "None", "#N/A", "true", "1", "007", "1e3", ""]


def test_a_text_is_what_stands_there_also_a_word_for_nothing_or_a_number(write, tmp_path):
    from datasets import Dataset

    assert read_documents(write("t.csv", "id,text\n" + "".join(f"1,{w}\n" for w in WORDS))) == WORDS
    Dataset.from_dict({"text": WORDS}).to_parquet(str(tmp_path / "t.parquet"))
    assert read_documents(tmp_path / "t.parquet") == WORDS
    assert read_documents(write("n.jsonl", '{"text": 1.50}\n{"text": 7}')) == ["1.50", "7"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.txt", "one"),
        ("t.jsonl", '{"text": "one"}'),
        ("t.csv", "text\none\n"),
        ("t.csv", '"text"\r\n"one"\r\n'),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_text(write, name, data):
    assert read_documents(write(name, b"\xef\xbb\xbf" + data.encode())) == ["one"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "data"),
    [("t.txt", "größe 😀"), ("t.jsonl", '{"text": "größe 😀"}\n'), ("t.csv", "text\ngröße 😀\n")],
)
def test_a_byte_order_mark_says_how_a_file_is_written(write, name, data, encoding):
    """As Windows' editors and shells write files."""
    mark = "" if encoding != "utf-16-be" else "\ufeff"
    assert read_documents(write(name, (mark + data).encode(encoding))) == ["größe 😀"]


def test_a_file_that_lacks_its_mark_is_told_how_to_convert_it(write):
    with pytest.raises(WorkError, match=r"not UTF-8 text \(byte 2\)") as error:
        read_documents(write("t.txt", "Größe".encode("cp1252")))
    assert "iconv -f WINDOWS-1252" in error.value.fix
    with pytest.raises(WorkError, match="not UTF-16-LE text"):
        read_documents(write("t.txt", "Größe".encode("utf-16")[:-1]))


def test_bytes_in_a_table_are_texts_whose_kind_was_left_unsaid(tmp_path):
    import pyarrow
    import pyarrow.parquet

    for values in (["größe".encode(), b"two"], [b"one", b"\xff"]):
        table = pyarrow.table({"text": pyarrow.array(values, pyarrow.binary())})
        pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
        if values[1] == b"two":
            assert read_documents(tmp_path / "t.parquet") == ["größe", "two"]
    with pytest.raises(WorkError, match="row 2 of 'text' is not text, but bytes that are no UTF-8"):
        read_documents(tmp_path / "t.parquet")


def test_a_cell_may_hold_commas_quotes_line_breaks_and_any_length(write):
    long = "word " * 100_000
    path = write("t.csv", f'text,n\n"a ""b"", c\nd",1\n\n{long},2\n')
    assert read_documents(path) == ['a "b", c\nd', long]


@pytest.mark.parametrize(
    ("name", "data", "what", "where"),
    [
        ("t.parquet", b'\x00\xff"broken', "not readable as a table", "t.parquet"),
        ("t.csv", 'text\none\n"open', "not readable as a table", "t.csv:3"),
        ("t.csv", "text,n\none,1\ntwo,2,3\n", "row 2 has 3 columns", "t.csv:3"),
    ],
)
def test_a_broken_table_is_named(write, name, data, what, where):
    with pytest.raises(WorkError, match=what) as error:
        read_documents(write(name, data))
    assert error.value.where.endswith(where)


def test_what_is_missing_in_a_table_is_not_taken_for_text(tmp_path):
    from datasets import Dataset

    Dataset.from_dict({"text": ["one", None]}).to_parquet(str(tmp_path / "t.parquet"))
    with pytest.raises(WorkError, match="row 2 of 'text' is not text, but null"):
        read_documents(tmp_path / "t.parquet")


def test_a_missing_library_names_the_extra(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(WorkError) as error:
        read_documents(write("t.parquet", "x"))
    assert "tfcli[data]" in error.value.fix


@pytest.mark.parametrize(
    ("data", "what", "line"),
    [
        ('{"text": "a"}\n{"txet": "b"}', "no 'text'", 2),
        ('{"text": "a"}\n\n["b"]', "not a JSON object", 3),
        ('{"text": "a"', "not JSON", 1),
        ('{"text": null}', "'text' is not text, but null", 1),
        ('{"text": ["a"]}', "'text' is not text", 1),
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
    with pytest.raises(WorkError, match=r"the folder holds no \.txt"):
        read_documents(write("empty/x.pdf", "x").parent)


def test_a_device_is_no_text(tmp_path):
    for name in ("x.txt", "x.jsonl", "x.csv"):
        (tmp_path / name).symlink_to("/dev/zero")
        with pytest.raises(WorkError, match="is no file of text"):
            read_documents(tmp_path / name)


def test_a_small_table_of_many_long_texts_is_refused_before_they_are_made(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "bomb.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["z" * 100_000])
    pq.write_table(pa.table({"text": text}), path, compression="zstd")
    assert path.stat().st_size < 200_000
    with pytest.raises(WorkError, match="its texts take more than"):
        read_documents(path)


def test_a_value_that_stands_in_many_rows_is_read_as_often(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": [1] * 3000, "text": ["a", "b", "a"] * 1000}), path)
    assert read_documents(path) == ["a", "b", "a"] * 1000
