"""Rows that are read from a place on: the same as those that are all there."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfcli.data.row_streams as streams
from tfcli.data.row_streams import PIECE, Place, RowStream
from tfcli.data.rows import read_rows
from tfcli.data.shards import ShardHere
from tfcli.errors import UsageError, WorkError

ROWS = [{"id": f"{n}", "text": f"row {n}, with a comma\nand a line: naïve"} for n in range(23)]


def write(folder, kind, rows=ROWS):
    path = folder / f"rows.{kind}"
    table = pa.Table.from_pylist(rows)
    if kind == "jsonl":
        path.write_text("\n\n".join(map(json.dumps, rows)))
    elif kind == "csv":
        lines = [f'{row["id"]},"{row["text"]}"' for row in rows]
        path.write_text("id,text\n" + "\n\n".join(lines))
    elif kind == "parquet":
        pq.write_table(table, path, row_group_size=5)
    elif kind == "arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as made:
            made.write_table(table, max_chunksize=4)
    else:
        path = folder / "stream.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as made:
            made.write_table(table, max_chunksize=4)
    return path


def in_order(files):
    return RowStream(list(map(ShardHere, files)), lambda epoch: range(len(files)))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "arrow", "arrow stream"])
def test_rows_from_any_place_on_are_those_of_the_whole_file(tmp_path, kind):
    path = write(tmp_path, kind)
    whole = read_rows(path)
    expected = [(row.values, row.where) for row in whole]
    assert [values for values, _ in expected] == ROWS
    stream, place, places = in_order([path]), Place(), []
    found = []
    while place.epoch == 0:
        places.append((len(found), place))
        rows, place = stream.read(place, 3)
        found += [(row.values, row.where) for row in rows]
    assert found == expected
    for number, at in places:  # each by a reader that has read nothing before
        rows, _ = in_order([path]).read(at, 4)
        assert [(row.values, row.where) for row in rows] == expected[number : number + 4]


def test_files_follow_one_another_in_the_order_of_the_epoch(tmp_path):
    files = [write(tmp_path, "jsonl"), write(tmp_path, "parquet", ROWS[:3])]
    stream = RowStream(list(map(ShardHere, files)), lambda epoch: [1, 0] if epoch else [0, 1])
    first, place = stream.read(Place(), 100)
    second, place = stream.read(place, 5)
    assert [row.values for row in first] == ROWS + ROWS[:3]
    assert [row.values for row in second] == ROWS[:3] + ROWS[:2]
    assert place.epoch == 1 and 1 < stream.share(place) < 2
    shares = [stream.share(stream.read(Place(), count)[1]) for count in (5, 12, 24)]
    assert 0 < shares[0] < shares[1] < shares[2] < 1


def test_a_text_file_comes_in_pieces_that_end_with_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_TEXT", 50)
    monkeypatch.setattr(streams, "_PIECE", 7)  # lines and letters are cut where a read ends
    path = tmp_path / "a.txt"
    path.write_text("".join(f"Zeile {n}: schön\n" for n in range(30)), encoding="utf-8")
    rows, _ = in_order([path]).read(Place(), 100)
    texts = [row.values[PIECE] for row in rows]
    assert "".join(texts) == path.read_text(encoding="utf-8")
    assert all(text.endswith("\n") and 50 <= len(text.encode()) < 80 for text in texts[:-1])
    _, place = in_order([path]).read(Place(), 2)
    rest, _ = in_order([path]).read(place, 1)
    assert rest[0].values[PIECE] == texts[2] and rest[0].where == rows[2].where


def test_a_list_in_one_json_file_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UsageError, match="not read as they come"):
        in_order([tmp_path / "a.json"])


@pytest.mark.parametrize(
    ("name", "content", "line", "match"),
    [
        ("a.jsonl", '{"a": 1}\n{"a":\n', 2, "not JSON"),
        ("a.jsonl", '{"a": 1}\n\n[1]\n', 3, "no JSON object"),
        ("a.csv", 'a,b\n1,2\n"x\ny",2\n1,2,3\n', 5, "3 columns"),
        ("a.csv", 'a,b\n1,2\n"x', 3, "not readable"),
    ],
)
def test_the_first_broken_row_is_named(tmp_path, name, content, line, match):
    (tmp_path / name).write_text(content)
    with pytest.raises(WorkError, match=match) as error:
        in_order([tmp_path / name]).read(Place(), 100)
    assert error.value.where == f"{tmp_path / name}:{line}"


def test_a_file_that_changes_meanwhile_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_PIECE", 64)
    path = write(tmp_path, "jsonl")
    stream = in_order([path])
    _, place = stream.read(Place(), 2)
    path.write_text(path.read_text().replace("row", "wor"))
    with pytest.raises(WorkError, match=r"changed|written"):
        stream.read(place, 10)


def test_a_broken_table_is_named(tmp_path):
    path = write(tmp_path, "parquet")
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:4] + b"\xff" * 60 + data[64:])
    with pytest.raises(WorkError, match="not readable as a table") as error:
        in_order([path]).read(Place(), 100)
    assert error.value.where == str(path)
