"""Recipes are read strictly: YAML 1.2 scalars, no duplicate keys, no objects, no bombs."""

import os

import pytest

from tfcli.errors import UsageError
from tfcli.recipe.document import MAX_BYTES, parse_document, parse_scalar, read_document


def test_scalars_follow_yaml_1_2():
    text = "a: 1e-4\nb: on\nc: 010\nd: .5\ne: ~\nf: True\ng: 2020-01-01\nh: 1_000\n"
    assert parse_document(text, "r.yaml").values == {
        "a": 1e-4, "b": "on", "c": 10, "d": 0.5, "e": None, "f": True, "g": "2020-01-01",
        "h": "1_000",
    }  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("[a, 2]", ["a", 2]), ("", None)])
def test_a_set_flag_is_read_as_yaml(text, value):
    assert parse_scalar(text) == value


def test_a_duplicate_key_names_both_lines():
    with pytest.raises(UsageError) as error:
        parse_document("train:\n  steps: 1\n  lr: 2\n  steps: 3\n", "r.yaml")
    assert "first on line 2" in error.value.what
    assert error.value.where == "r.yaml:4: train.steps"


@pytest.mark.parametrize(
    "text",
    [
        "a: [1\n",
        "a: b: c\n",
        "a: !!python/object/apply:os.system [true]\n",
        "a: &loop [*loop]\n",
        "{}{}",
        "\t- a",
        "a: \x00",
        "a: \x1b[2J",
        "a: !!timestamp maybe",
        "a: !!int [1]",
        "a: !!float [1]",
        "a: !!bool maybe",
        "a: " + "9" * 5000,
        "a: " + "[" * 3000,
    ],
)
def test_what_is_not_plain_yaml_is_refused_by_name(text):
    with pytest.raises(UsageError, match="not readable as YAML") as error:
        parse_document(text, "r.yaml")
    assert error.value.where.startswith("r.yaml")


def test_an_alias_bomb_is_refused_before_it_expands():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(UsageError, match="once its aliases are expanded"):
        parse_document("\n".join(lines), "bomb.yaml")


def test_where_gives_the_line_of_a_key_or_of_what_holds_it():
    document = parse_document("steps:\n  train:\n    optimizer:\n      lr: 1\n", "r.yaml")
    assert document.where(["steps", "train", "optimizer", "lr"]).startswith("r.yaml:4: ")
    assert document.where(["steps", "train", "data"]).startswith("r.yaml:2: steps.train.data")


def test_missing_binary_and_oversized_files_are_named(tmp_path):
    binary, huge = tmp_path / "b.yaml", tmp_path / "h.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    huge.write_text("# " + "x" * MAX_BYTES)
    for path in (tmp_path / "none.yaml", binary, huge):
        with pytest.raises(UsageError) as error:
            read_document(path)
        assert error.value.where == str(path)


@pytest.mark.parametrize(
    ("wrong", "mended"),
    [
        ("runs: [${a}, ${b}/x]", 'runs: ["${a}", "${b}/x"]'),
        ("one: {model: ${a}}", 'one: {model: "${a}"}'),
        ("runs: [\n  ${a},\n]", 'runs: [\n  "${a}",\n]'),
    ],
)
def test_a_reference_inside_of_brackets_asks_for_quotes(wrong, mended):
    with pytest.raises(UsageError, match="without quotes") as error:
        parse_document(wrong, "r.yaml")
    line = error.value.fix.removeprefix("write ")
    assert '"${a}' in line and line in mended
    assert "${a}" in str(parse_document(mended, "r.yaml").values)


def test_a_key_that_is_no_word_is_refused_before_it_is_written_out():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 4)]
    for text in ("? [x, y]\n: 1\n", "\n".join([*lines, "? *a3\n: 1"]), "? {a: 1}\n: 2\n"):
        with pytest.raises(UsageError, match="a key must be a word"):
            parse_document(text, "r.yaml")


def test_what_is_no_regular_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe.yaml", "folder.yaml"):
        with pytest.raises(UsageError, match="regular file"):
            read_document(tmp_path / name)


@pytest.mark.parametrize(
    "text", ["!!int x", "!!bool x", "!!timestamp 2001-99-99", "[" * 3000, "[1"]
)
def test_a_set_that_is_not_plain_yaml_is_refused_by_name(text):
    with pytest.raises(UsageError, match="not readable as YAML") as error:
        parse_scalar(text)
    assert error.value.where.startswith("--set")
