"""Questions about tables beside transformers' TapasTokenizer."""

from __future__ import annotations

import math
import random

import pytest

from tests.tokenizers.folders import make, write
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.tables import read_table
from tfcli.tokenizers.tapas import KINDS, encode_table

ACTORS = [
    ["Actors", "Number of movies", "Date of birth", "Share"],
    ["Brad Pitt", "87", "18 December 1963", "1,000.5 %"],
    ["Leonardo Di Caprio", "53", "11 November 1974", "-3"],
    ["George Clooney", "69", "6 May 1961", "n/a"],
    ["naïve Ångström 日本", "about 5", "2010-02-30", ""],
]
DATES = [
    ["Month", "Both", "Mixed", "Day", "?"],
    ["May 2010", "1990", "first", "Monday, May 3", "-"],
    ["june 2009", "1995", "second of 3", "february 29", "?"],
    ["sept 2010", "12.05.2001", "3rd", "feb 28", " "],
    ["2008", "1990s", "twelve", "30 april", "nan"],
    ["August 1999", "2020", "1e3", "31 jun", "."],
]
ONE_ROW = [["a", "b"], ["1", "2"]]
HEADER = [["only names of columns", "and no rows"]]
TABLES = {"actors": ACTORS, "dates": DATES, "one row": ONE_ROW, "header": HEADER}
QUESTIONS = [
    "What is the number of movies of Brad Pitt?",
    "Who was born before 1970, or in May 1961?",
    "Which has more than 60 and less than 87 movies? 1,000.5",
    "?",
    "the first of june 2009 and the 12.05.2001",
    "",
]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    from transformers import TapasTokenizer

    folder = make(tmp_path_factory.mktemp("tapas"), "bert")
    write(folder, {"config.json": {"model_type": "tapas"}})
    return load_tokenizer(folder), TapasTokenizer.from_pretrained(folder)


def expected_of(theirs, table, questions, **options):
    import pandas

    frame = pandas.DataFrame(table[1:], columns=table[0], dtype=str)
    return theirs(table=frame, queries=list(questions), **options)


def check(batch, expected) -> None:
    assert batch.ids == expected["input_ids"]
    assert batch.attention_mask == expected["attention_mask"]
    for number, (ours, theirs) in enumerate(
        zip(batch.token_type_ids, expected["token_type_ids"], strict=True)
    ):
        for kind, name in enumerate(KINDS):
            assert [each[kind] for each in ours] == [each[kind] for each in theirs], (name, number)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_ids_and_types_are_those_of_transformers(both, table):
    ours, theirs = both
    check(encode_table(ours, table, QUESTIONS), expected_of(theirs, table, QUESTIONS))


@pytest.mark.parametrize("max_length", [24, 30, 40, 48, 64, 90, 200])
@pytest.mark.parametrize("table", [ACTORS, DATES], ids=["actors", "dates"])
def test_cells_and_then_rows_are_left_out(both, table, max_length):
    ours, theirs = both
    for question in ("How many?", "of 1961"):
        options = {"max_length": max_length, "truncation": True}
        try:
            expected = expected_of(theirs, table, [question], **options)
        except ValueError:
            with pytest.raises(WorkError, match="tokens too many"):
                encode_table(ours, table, [question], **options)
        else:
            batch = encode_table(ours, table, [question], **options)
            assert batch.ids == expected["input_ids"]
            assert batch.token_type_ids == expected["token_type_ids"]
            assert len(batch.ids[0]) <= max_length


def test_a_long_table_loses_its_last_rows(both):
    ours, theirs = both
    table = [["name", "count"], *([f"row {n}", str(n * 7 % 31)] for n in range(60))]
    expected = expected_of(theirs, table, ["more than 20?"], max_length=100, truncation=True)
    batch = encode_table(ours, table, ["more than 20?"], max_length=100, truncation=True)
    check(batch, expected)
    rows = {types[2] for types in batch.token_type_ids[0]}
    assert 10 < max(rows) < 60 and rows == set(range(max(rows) + 1))


def test_answers_of_a_conversation(both):
    ours, theirs = both
    questions = QUESTIONS[:3]
    answers = [[(0, 1)], [(1, 0), (2, 0)], [(2, 1), (0, 3)]]
    batch = encode_table(ours, ACTORS, questions, answers=answers)
    texts = [[ACTORS[row + 1][column] for row, column in each] for each in answers]
    expected = expected_of(theirs, ACTORS, questions, answer_coordinates=answers, answer_text=texts)
    check(batch, expected)
    assert batch.labels == expected["labels"] and any(batch.labels[0])
    assert batch.numeric_values_scale == expected["numeric_values_scale"]
    for one, other in zip(batch.numeric_values, expected["numeric_values"], strict=True):
        assert list(map(repr, one)) == list(map(repr, other))
        assert 87.0 in one and math.isnan(one[0])
    previous = [
        [types[KINDS.index("prev_labels")] for types in one] for one in batch.token_type_ids
    ]
    assert not any(previous[0]) and sum(previous[1]) == sum(batch.labels[0])


def test_random_tables(both):
    ours, theirs = both
    draw = random.Random(3)
    parts = ["12", "3.5", "1,200", "may", "2009", "march 3", "2001-02-03", "first", "-4", "+7",
             "cats", "n/a", "", "$5", "10%", "jan 2000", "4 july 1999", "12-31-1999", "1st",
             "1700s"]  # fmt: skip
    for _ in range(25):
        columns, rows = draw.randrange(1, 4), draw.randrange(1, 6)

        def cell(many: int = 3) -> str:
            return " ".join(draw.choices(parts, k=draw.randrange(1, many)))

        styles = [draw.choice(parts) for _ in range(columns)]
        body = [[style if draw.random() < 0.5 else cell() for style in styles] for _ in range(rows)]
        table = [[f"c{n}" for n in range(columns)], *body]
        questions = [cell(6) for _ in range(2)]
        check(encode_table(ours, table, questions), expected_of(theirs, table, questions))


@pytest.mark.parametrize("side", ["left", "right"])
def test_entries_are_filled_up(both, side):
    ours, _ = both
    plain = encode_table(ours, ACTORS, QUESTIONS[:2])
    batch = encode_table(ours, ACTORS, QUESTIONS[:2], padding=side)
    longest = max(map(len, plain.ids))
    for row in range(2):
        on = [place for place, mask in enumerate(batch.attention_mask[row]) if mask]
        assert [batch.ids[row][place] for place in on] == plain.ids[row]
        assert [batch.token_type_ids[row][place] for place in on] == plain.token_type_ids[row]
        assert len(batch.ids[row]) == len(batch.token_type_ids[row]) == longest
    assert batch.ids[0][0 if side == "left" else -1] == ours.pad_id or len(plain.ids[0]) == longest


def test_a_table_in_a_file(both, tmp_path):
    file = tmp_path / "table.csv"
    file.write_text(
        '\ufeffname,note\nAda,"wrote, and ""counted"""\nCharles,"two\nlines"\n', "utf-8"
    )
    table = read_table(file)
    assert table == [["name", "note"], ["Ada", 'wrote, and "counted"'], ["Charles", "two\nlines"]]
    assert encode_table(both[0], table, ["Who?"]).ids


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"a,b\n1\n", "the row has 1 cells, the table 2 columns"),
        (b"", "a row with the names"),
        (b"a,\xff\n", "no CSV in UTF-8"),
        (b'a,b\n"1,2\n', "no CSV"),
    ],
)
def test_a_broken_file_is_named(text, what, tmp_path):
    (tmp_path / "table.csv").write_bytes(text)
    with pytest.raises(WorkError, match=what) as error:
        read_table(tmp_path / "table.csv")
    assert "table.csv" in error.value.where


def test_what_does_not_fit_is_refused(both, tmp_path):
    tokenizer, _ = both
    for options, what in (
        ({"max_length": 9}, "need each other"),
        ({"truncation": True}, "need each other"),
        ({"answers": []}, "1 questions, but 0 answers"),
        ({"max_column_id": 4}, "4 columns or more"),
        ({"max_row_id": 4}, "4 rows or more"),
        ({"padding": "both"}, "padding is 'both'"),
    ):
        with pytest.raises(UsageError, match=what):
            encode_table(tokenizer, ACTORS, ["Who?"], **options)
    with pytest.raises(WorkError, match=r"cell \(9, 0\) is not in what is left"):
        encode_table(tokenizer, ACTORS, ["Who?"], answers=[[(9, 0)]])
    with pytest.raises(WorkError, match="the cell 5 is no text") as error:
        encode_table(tokenizer, [["a"], [5]], ["Who?"])
    assert error.value.where == "table, row 1"
    with pytest.raises(WorkError, match=r"no \[EMPTY\]"):
        encode_table(load_tokenizer(make(tmp_path, "bert")), ACTORS, ["Who?"])
    cut = encode_table(tokenizer, ACTORS, ["Who?"], max_row_id=3, max_length=500, truncation=True)
    assert max(types[2] for types in cut.token_type_ids[0]) == 2
