"""From data files to samples: recognised, counted aloud, refused by file and line."""

from __future__ import annotations

import json

import pytest

from tfcli.console import Console
from tfcli.data.supervised import Encoder
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.load import load_tokenizer
from tfcli.train.feeds.row_data import choose, find_rows, samples_of

PAIRS = [{"prompt": "the cat sat", "completion": " on a mat" * n} for n in (1, 2, 9)]
TALK = {
    "messages": [
        {"role": "user", "content": "the cat"},
        {"role": "assistant", "content": "sat on a mat"},
    ]
}


@pytest.fixture
def data(tmp_path):
    """A function that writes rows and gives their path."""

    def write(rows, name="rows.jsonl") -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


@pytest.fixture
def chosen(make_spec, chats, tmp_path, monkeypatch):
    """A function that gives the samples of rows, with 16 tokens at most."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def do(path, rows=None, **changes):
        spec = make_spec(data=path, rows=rows or {}, **changes)
        folder, console = chats / "tokenizer", Console.silent()
        found = find_rows(spec, path)
        assert found is not None
        encoder = Encoder(load_tokenizer(folder), folder, spec.rows.train_on)
        store = samples_of(found, encoder, console)
        return choose(store, found, spec.sequence_length, spec.rows, console, "data")

    return do


def test_rows_with_a_text_are_plain_text_as_before(make_spec, data):
    both = data([{"text": "x", **TALK}])
    assert find_rows(make_spec(), both) is None
    assert find_rows(make_spec(text_field="body"), data([{"body": "x"}], "b.jsonl")) is None
    assert find_rows(make_spec(rows={"format": "messages"}), both).format.name == "messages"
    assert find_rows(make_spec(rows={"format": "text"}), data([TALK])) is None


def test_a_folder_has_rows_unless_it_holds_texts_and_some_other_json(make_spec, tmp_path, data):
    folder = tmp_path / "folder"
    data([TALK], "folder/data/train-0.jsonl")
    (folder / "README.md").write_text("What the rows are.")
    assert find_rows(make_spec(), str(folder)).format.name == "messages"
    (folder / "data" / "train-0.jsonl").rename(tmp_path / "away.jsonl")
    (folder / "settings.json").write_text("{}")
    assert find_rows(make_spec(), str(folder)) is None


def test_texts_beside_rows_are_told(make_spec, chats, data, tmp_path, capsys):
    data([TALK], "folder/a.jsonl")
    (tmp_path / "folder" / "README.md").write_text("What the rows are.")
    spec = make_spec(data=str(tmp_path / "folder"), sequence_length=63)
    tokenizer = chats / "tokenizer"
    found = find_rows(spec, spec.data)
    encoder = Encoder(load_tokenizer(tokenizer), tokenizer)
    store = samples_of(found, encoder, Console.silent())
    choose(store, found, 63, spec.rows, Console(), "data")
    said = " ".join(capsys.readouterr().err.split())
    assert "1 file of plain text beside the rows left out: README.md" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_on", "all"), ("truncate", "cut"),
        ("packing", True), ("group_by_length", True),
    ],
)  # fmt: skip
def test_keys_of_rows_have_no_effect_on_plain_text_and_are_refused(make_spec, data, key, value):
    with pytest.raises(UsageError, match=f"{key} has no effect on plain text") as error:
        find_rows(make_spec(rows={"format": "text", key: value}), data([{"text": "x"}]))
    assert error.value.where == f"rows.{key}"
    with pytest.raises(UsageError, match="columns has no effect on plain text"):
        find_rows(make_spec(columns={"text": "y"}, rows={"format": "text"}), data([{"text": "x"}]))


def test_a_column_of_plain_text_is_named_by_text_field(make_spec, data):
    path = data([{"body": "x"}])
    with pytest.raises(UsageError, match="named by text_field") as error:
        find_rows(make_spec(columns={"text": "body"}), path)
    assert error.value.fix == "text_field: body"
    with pytest.raises(UsageError, match="text_field has no effect on rows"):
        find_rows(make_spec(rows={"format": "messages"}, text_field="body"), data([TALK]))


def test_rows_of_no_known_format_are_named(make_spec, data):
    path = data([{"question": "x"}])
    with pytest.raises(WorkError, match="'question' is of no known format") as error:
        find_rows(make_spec(), path)
    assert error.value.where == f"{path}:1"


def test_the_first_row_of_another_form_is_named(chosen, data):
    path = data([TALK, {"messages": [{"role": "user"}]}, {"messages": 3}])
    with pytest.raises(WorkError, match="neither content nor tool_calls") as error:
        chosen(path)
    assert error.value.where == f"{path}:2, messages[0]"


def test_long_rows_are_left_out_aloud(chosen, data, capsys):
    found = chosen(data(PAIRS))
    assert (len(found.samples), found.long, found.empty) == (2, 1, 0)
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 3 rows have more tokens than sequence_length and are left out" in said


def test_long_rows_lose_their_ends_where_that_is_asked_for(chosen, data, capsys):
    found = chosen(data(PAIRS), {"truncate": "cut"})
    assert (len(found.samples), found.long) == (3, 1)
    assert found.samples.sizes.max() == 16 == len(found.samples[2]["targets"])
    assert "lose their ends" in " ".join(capsys.readouterr().err.split())


def test_a_long_row_can_be_an_error_that_names_it(chosen, data):
    path = data(PAIRS)
    with pytest.raises(WorkError, match="1 row of 3 have more than 16 tokens") as error:
        chosen(path, {"truncate": "error"})
    assert error.value.where == f"{path}:3"


def test_rows_without_a_token_to_learn_are_counted_and_left_out(chosen, data, capsys):
    asked = {"messages": TALK["messages"][:1]}
    found = chosen(data([TALK, asked, TALK]), sequence_length=64)
    assert (len(found.samples), found.empty) == (2, 1)
    assert "1 of 3 rows have no token to learn" in " ".join(capsys.readouterr().err.split())


def test_the_tokens_to_learn_are_counted(chosen, data):
    found = chosen(data(PAIRS), sequence_length=64)
    targets = [int((each["targets"] != -100).sum()) for each in found.samples]
    assert found.learned.tolist() == targets
    assert targets[0] < targets[1] < targets[2]


@pytest.mark.parametrize("truncate", ["drop", "cut"])
def test_nothing_to_learn_at_all_is_an_error(chosen, data, truncate):
    asked = {"messages": TALK["messages"][:1]}
    with pytest.raises(WorkError, match="no row has a token to learn"):
        chosen(data([asked] * 3), {"truncate": truncate}, sequence_length=64)


def test_nothing_masked_is_an_error_where_masks_were_asked_for(chosen, data):
    rows = [{"prompt": "", "completion": "the cat"}]
    with pytest.raises(WorkError, match="nothing is masked"):
        chosen(data(rows))
    assert len(chosen(data(rows), {"train_on": "all"}).samples) == 1


def test_rows_that_end_without_a_special_token_are_told(chosen, data, monkeypatch, capsys):
    monkeypatch.setattr(Encoder, "ends", lambda self, tokens: False)
    chosen(data(PAIRS), sequence_length=63)
    said = " ".join(capsys.readouterr().err.split())
    assert "3 of 3 rows end without a special token" in said


def test_a_changed_file_template_or_option_is_tokenized_anew(chosen, data, monkeypatch):
    seen = []
    encode = Encoder.encode
    monkeypatch.setattr(
        Encoder, "encode", lambda self, *args: (seen.append(1), encode(self, *args))[1]
    )
    path = data(PAIRS)
    for changes, made in (
        ({}, 3),
        ({}, 3),
        ({"sequence_length": 64}, 3),  # the same ids are chosen from
        ({"rows": {"train_on": "all"}}, 6),
    ):
        chosen(path, **changes)
        assert len(seen) == made
    chosen(data(PAIRS[:2]))
    assert len(seen) == 8


def test_equal_rows_have_equal_keys(chosen, data):
    store = chosen(data([PAIRS[0], PAIRS[1], PAIRS[0]])).samples.store
    keys = store.keys.tolist()
    assert keys[0] == keys[2] != keys[1]
