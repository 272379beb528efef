"""Rows of every kind of file, each read when it is asked for."""

from __future__ import annotations

import json

import pytest

from tfcli.data.rows import Row, first_row, read_rows
from tfcli.errors import UsageError, WorkError

TALK = [{"role": "user", "content": "naïve 漢字?"}, {"role": "assistant", "content": "Yes\n."}]
ROWS = [{"prompt": f"q{n}, naïve", "completion": f'a "{n}"\nand more'} for n in range(700)]


@pytest.fixture
def write(tmp_path):
    """A function that writes a file and gives its path."""

    def do(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return do


def lines(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(rows):
    import pyarrow as pa

    return pa.Table.from_pylist(rows)


def as_jsonl(path):
    path.write_text(lines(ROWS))


def as_json(path):
    path.write_text(json.dumps(ROWS, ensure_ascii=False, indent=1))


def as_csv(path):
    import csv

    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(ROWS)


def as_parquet(path):
    import pyarrow.parquet as pq

    pq.write_table(table(ROWS), path, row_group_size=100)


def as_arrow(path):
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table(ROWS).schema) as file:
        file.write_table(table(ROWS), max_chunksize=50)


WRITERS = {
    ".jsonl": as_jsonl, ".json": as_json, ".csv": as_csv, ".parquet": as_parquet,
    ".arrow": as_arrow,
}  # fmt: skip


@pytest.mark.parametrize("suffix", WRITERS)
def test_rows_of_every_kind_of_file_are_the_same_in_any_order(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path)
    rows = read_rows(path)
    assert [row.values for row in rows] == ROWS
    assert [rows[n].values for n in (699, 3, -1, 300)] == [ROWS[n] for n in (699, 3, -1, 300)]
    assert [row.values for row in rows[5:8]] == ROWS[5:8]
    with pytest.raises(IndexError):
        rows[700]


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_row_says_where_it_stands(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path)
    # A completion has two lines: in a .csv the third row begins after the header and two rows.
    third = {".jsonl": ":3", ".json": ": entry 3", ".csv": ":6"}.get(suffix, ": row 3")
    assert read_rows(path)[2].where == f"{path}{third}"


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_first_row_is_the_same_alone(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path)
    assert first_row(path) == read_rows(path)[0]


def test_the_first_row_is_read_without_the_others(write, tmp_path):
    write("a.jsonl", "\n")
    write("b.jsonl", '\n{"a": 1}\n{"a"')
    assert first_row(tmp_path).where.endswith("b.jsonl:2")
    assert first_row(write("c.json", '[{"a": 1}, {"a"')).values == {"a": 1}
    assert first_row(write("d.csv", "a\n1\n2,3\n")).values == {"a": "1"}
    with pytest.raises(WorkError, match="no rows"):
        first_row(write("e.jsonl", ""))


def test_a_folder_that_datasets_saved_is_read_by_its_splits(tmp_path):
    from datasets import Dataset, DatasetDict

    parts = {"train": ROWS[:5], "test": ROWS[5:8]}
    DatasetDict({name: Dataset.from_list(rows) for name, rows in parts.items()}).save_to_disk(
        tmp_path / "saved"
    )
    for name, rows in parts.items():
        assert [row.values for row in read_rows(tmp_path / "saved", split=name)] == rows


def test_a_folder_is_its_files_in_the_order_of_their_names(write, tmp_path):
    write("b.jsonl", lines(ROWS[2:3]))
    write("a/z.json", json.dumps(ROWS[:2]))
    write("readme.md", "no rows")
    write(".hidden.jsonl", "{")
    assert [row.values for row in read_rows(tmp_path)] == ROWS[:3]


@pytest.mark.parametrize("name", ["{}.jsonl", "{}-00000-of-00001.jsonl", "data/{}-1.jsonl"])
def test_files_that_are_named_after_splits_are_these_splits(write, tmp_path, name):
    for split, row in zip(("train", "validation"), ROWS, strict=False):
        write(name.format(split), lines([row]))
    assert [row.values for row in read_rows(tmp_path, split="validation")] == [ROWS[1]]
    with pytest.raises(UsageError, match=r"the folder has no test\.jsonl"):
        read_rows(tmp_path, split="test")


def test_a_table_gives_messages_no_keys_that_only_others_have(tmp_path):
    import pyarrow.parquet as pq

    calls = [{"function": {"name": "f", "arguments": "{}"}}]
    rows = [{"messages": TALK}, {"messages": [{"role": "assistant", "tool_calls": calls}]}]
    pq.write_table(table(rows), tmp_path / "a.parquet")
    assert [row.values for row in read_rows(tmp_path / "a.parquet")] == rows


def test_only_the_row_that_is_asked_for_is_parsed(write):
    rows = read_rows(write("a.jsonl", '{"a": 1}\n\n{"a": \n[1]\n{"a": "\u2028"}'))
    assert (len(rows), rows[0]) == (4, Row({"a": 1}, rows[0].where, rows[0].folder))
    assert rows[3].values == {"a": "\u2028"} and rows[3].where.endswith(":5")
    with pytest.raises(WorkError, match="not JSON") as error:
        rows[1]
    assert error.value.where.endswith("a.jsonl:3")
    with pytest.raises(WorkError, match="no JSON object, but a list"):
        rows[2]


def test_a_file_that_changes_between_two_rows_is_an_error(write):
    path = write("a.jsonl", lines(ROWS[:3]))
    rows = read_rows(path)
    path.write_text(lines(ROWS[4:9]))
    with pytest.raises(WorkError, match="changed while it was read"):
        rows[1]


def test_an_arrow_file_that_changes_is_an_error_before_it_is_read_on(tmp_path):
    as_arrow(tmp_path / "a.arrow")
    rows = read_rows(tmp_path / "a.arrow")
    assert rows[0].values == ROWS[0]
    (tmp_path / "a.arrow").write_bytes(b"")
    with pytest.raises(WorkError, match="changed while it was read"):
        rows[600]


def test_an_arrow_file_that_names_places_outside_of_itself_is_refused(tmp_path):
    import pyarrow as pa

    path = tmp_path / "a.arrow"
    one = pa.table({"text": ["x" * 100, "y" * 100]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, one.schema) as stream:
        stream.write_table(one)
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 100, 200))
    data = path.read_bytes()
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, offsets[:8] + (2**30).to_bytes(4, "little")))
    with pytest.raises(WorkError, match="not readable as a table"):
        read_rows(path)


def test_a_cell_may_hold_what_ends_lines_elsewhere(write):
    found = read_rows(write("a.csv", 'a,b\nx\u2028y,\x0b\n"1\r\n2","""3"""\n'))
    assert [row.values for row in found] == [
        {"a": "x\u2028y", "b": "\x0b"},
        {"a": "1\r\n2", "b": '"3"'},
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(write, encoding):
    for name, text in {"a.jsonl": lines(ROWS[:2]), "a.json": json.dumps(ROWS[:2])}.items():
        assert [row.values for row in read_rows(write(name, text.encode(encoding)))] == ROWS[:2]
    found = read_rows(write("a.csv", "a,b\nx,y\n".encode(encoding)))
    assert [row.values for row in found] == [{"a": "x", "b": "y"}]


@pytest.mark.parametrize(
    ("name", "data", "what", "where"),
    [
        ("a.json", '{"a": 1}', "no list of objects, but an object", "a.json"),
        ("a.json", '[{"a": 1}, {"a" 2}]', "not JSON", "a.json: entry 2"),
        ("a.json", '[{"a": 1} {"a": 2}]', "neither a comma nor", "a.json: entry 1"),
        ("a.json", '[{"a": 1}', "neither a comma nor", "a.json: entry 1"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", "3 columns, and the header has 2", "a.csv:3"),
        ("a.csv", 'a\n"x\n', "not readable as a table", "a.csv:2"),
        ("a.csv", b"a\nx\n\xff\n", "not UTF-8", "a.csv:3"),
        ("a.parquet", "no table", "not readable as a table", "a.parquet"),
        ("a.arrow", "no table", "not readable as a table", "a.arrow"),
        ("a.jsonl", "\n\n", "no rows", "a.jsonl"),
        ("a.json", "[ ]", "no rows", "a.json"),
    ],
)
def test_a_broken_file_is_named(write, name, data, what, where):
    with pytest.raises(WorkError, match=what) as error:
        read_rows(write(name, data))
    assert error.value.where.endswith(where)


def test_what_has_no_rows_is_refused(write, tmp_path):
    with pytest.raises(UsageError, match=r"'\.txt' have no rows"):
        read_rows(write("a.txt", "text"))
    with pytest.raises(WorkError, match="holds no"):
        read_rows(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        read_rows(tmp_path / "b")


def test_a_small_table_of_many_long_texts_is_refused(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr("tfcli.data.row_files.MAX_TABLE", 1000)
    pq.write_table(table([{"text": "x" * 10_000}] * 1_000), tmp_path / "a.parquet")
    with pytest.raises(WorkError, match="its texts take more than"):
        read_rows(tmp_path / "a.parquet")


def test_a_folder_of_pictures_is_rows_with_labels(tmp_path):
    for name in ("train/cat/1.png", "train/dog/2.JPG", "validation/cat/3.webp", "train/.x/4.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rows = read_rows(tmp_path)
    assert [row.values for row in rows] == [
        {"image": "train/cat/1.png", "label": "cat"},
        {"image": "train/dog/2.JPG", "label": "dog"},
    ]
    assert rows[0].folder == tmp_path and rows[0].where == str(tmp_path / "train/cat/1.png")
    assert [row.values["label"] for row in read_rows(tmp_path / "train/cat")] == ["cat"]
    assert len(read_rows(tmp_path, split="validation")) == 1
    with pytest.raises(UsageError, match="of a split 'test'"):
        read_rows(tmp_path, split="test")
