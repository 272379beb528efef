"""`tfcli pairs`: where pairs come from, what packing keeps, what is counted and written."""

import json
from pathlib import Path

import pytest

from tfcli.commands.app import run
from tfcli.pairs.pack import pack_pairs
from tfcli.pairs.read import Pair
from tfcli.tokenizers.load import load_tokenizer

ENGLISH = ["I went", "to the store", "and bought", "a very long list of things", "."]
SPANISH = ["yo fui", "a la tienda", "y compré", "una lista muy larga de cosas", "."]


def words(text: str) -> int:
    return len(text.split())


def pairs_of(sources: list[str], targets: list[str]) -> list[Pair]:
    return [Pair(*both) for both in zip(sources, targets, strict=True)]


@pytest.fixture
def lines(tmp_path) -> Path:
    """A folder of the older examples: a split in two files."""
    folder = tmp_path / "lines"
    folder.mkdir()
    for split in ("train", "val", "test"):
        (folder / f"{split}.source").write_text("\n".join(ENGLISH))
        (folder / f"{split}.target").write_text("\n".join(SPANISH) + "\n")
    return folder


@pytest.fixture
def pairs(tmp_path, capsys):
    """Runs the command into a new folder; gives its JSON and the folder."""

    def call(source: Path, *flags: str, code: int = 0) -> tuple[dict, Path]:
        capsys.readouterr()
        out = tmp_path / "out"
        assert run(["pairs", str(source), str(out), *flags, "--json", "--quiet"]) == code
        return json.loads(capsys.readouterr().out), out

    return call


def rows(path: Path) -> list[tuple[str, str]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["source"], row["target"]) for row in found]


def test_pairs_that_follow_each_other_are_joined_as_long_as_both_sides_fit():
    packed = pack_pairs(pairs_of(ENGLISH, SPANISH), 7, words, words)
    assert packed == [
        Pair("I went to the store and bought", "yo fui a la tienda y compré"),
        Pair("a very long list of things .", "una lista muy larga de cosas ."),
    ]
    longer_targets = pack_pairs(pairs_of(["a", "b", "c"], ["1 2", "3 4", "5 6"]), 4, words, words)
    assert longer_targets == [Pair("a b", "1 2 3 4"), Pair("c", "5 6")]


def test_a_pair_that_does_not_fit_stays_alone_and_whole():
    packed = pack_pairs(pairs_of(ENGLISH, SPANISH), 4, words, words)
    assert Pair(ENGLISH[3], SPANISH[3]) in packed
    assert " ".join(pair.source for pair in packed) == " ".join(ENGLISH)
    assert pack_pairs([], 4, words, words) == []


def test_lines_are_packed_to_tokens_in_train_alone(pairs, lines, tiny_tokenizer):
    flags = ("--pack-tokens", "24", "--tokenizer", str(tiny_tokenizer), "--format", "lines")
    result, out = pairs(lines, *flags)
    assert list(result["splits"]) == ["train", "validation", "test"]
    made = {
        split: [
            (out / f"{split}{ending}").read_text().splitlines() for ending in (".source", ".target")
        ]
        for split in result["splits"]
    }
    assert made["validation"] == made["test"] == [ENGLISH, SPANISH]
    tokenizer = load_tokenizer(tiny_tokenizer)
    sources, targets = made["train"]
    assert 1 < len(sources) == len(targets) == result["splits"]["train"]["written"] < 5
    assert " ".join(sources) == " ".join(ENGLISH) and " ".join(targets) == " ".join(SPANISH)

    def too_long(sources: list[str], targets: list[str]) -> int:
        pairs = zip(sources, targets, strict=True)
        return sum(max(map(len, tokenizer.encode_batch(both))) > 24 for both in pairs)

    longer = result["splits"]["train"]["longer"]
    assert longer == too_long(ENGLISH, SPANISH) == too_long(sources, targets)


def test_all_splits_are_packed_when_asked(pairs, lines, tiny_tokenizer):
    flags = ("--pack-tokens", "4000", "--tokenizer", str(tiny_tokenizer))
    split_flags = [word for name in ("train", "test") for word in ("--pack-splits", name)]
    result, out = pairs(lines, *flags, *split_flags)
    assert {name: split["written"] for name, split in result["splits"].items()} == {
        "train": 1,
        "validation": 5,
        "test": 1,
    }
    assert rows(out / "test.jsonl") == [(" ".join(ENGLISH), " ".join(SPANISH))]


@pytest.mark.parametrize("which", ["source", "longer"])
def test_lengths_are_those_of_the_pairs_that_are_written(pairs, lines, tiny_tokenizer, which):
    result, out = pairs(lines, "--lengths", which, "--tokenizer", str(tiny_tokenizer))
    tokenizer = load_tokenizer(tiny_tokenizer)
    own, other = ([len(tokenizer.encode(text)) for text in texts] for texts in (ENGLISH, SPANISH))
    expected = own if which == "source" else list(map(max, own, other))
    assert json.loads((out / "train.lengths.json").read_text()) == expected
    assert result["splits"]["train"]["source_tokens"] == sum(own)
    assert result["splits"]["train"]["target_tokens"] == sum(other)


def test_a_data_set_of_translations_becomes_a_file_for_an_evaluation(pairs, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for split, count in (("train", 3), ("test", 5)):
        made = [{"translation": {"en": f"en {n}", "ro": f"ro {n}"}} for n in range(count)]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    columns = ("--source-column", "translation.en", "--target-column", "translation.ro")
    result, out = pairs(data, *columns, "--splits", "test", "--first", "2", "--format", "json")
    assert json.loads((out / "test.json").read_text()) == {
        "src": ["en 0", "en 1"],
        "tgt": ["ro 0", "ro 1"],
    }
    assert result["files"] == ["test.json"]


def test_a_folder_without_splits_is_train_and_a_file_has_its_name(pairs, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "all.jsonl").write_text(json.dumps({"source": "a", "target": "b"}) + "\n")
    assert list(pairs(data)[0]["splits"]) == ["train"]
    result, _ = pairs(data / "all.jsonl", "--force")
    assert result["files"] == ["all.jsonl"]


@pytest.mark.parametrize(
    ("change", "flags", "what"),
    [
        (None, ("--pack-tokens", "9"), "pack_tokens counts tokens: give the tokenizer"),
        (None, ("--lengths", "source"), "lengths counts tokens: give the tokenizer"),
        (None, ("--pack-splits", "test"), "pack_splits has no effect"),
        (None, ("--splits", "dev"), "the folder has no dev.source"),
        (("train.target", "one\n"), (), "5 lines, and 1 in train.target"),
        (("train.target", "a\nb\n\nd\ne"), (), "the target of the pair is empty"),
        (("train.target", None), (), "there is no train.target beside it"),
        (
            ("train.target", "a\nb\x85c\nd\ne\nf"),
            ("--format", "lines"),
            "a text of pair 2 of train has a line break",
        ),
    ],
)
def test_what_does_not_fit_is_refused(pairs, lines, change, flags, what):
    if change is not None:
        path = lines / change[0]
        path.unlink() if change[1] is None else path.write_text(change[1])
    result, out = pairs(lines, *flags, code=1 if change else 2)
    assert what in result["error"]["what"]
    assert not out.exists()


def test_rows_without_the_column_are_named(pairs, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"translation": {"en": "a", "ro": 3}}) + "\n")
    columns = ("--source-column", "translation.en", "--target-column")
    error = pairs(path, *columns, "translation.roo", code=1)[0]["error"]
    assert "has no 'translation.r" in error["what"] and "did you mean 'ro'" in error["fix"]
    assert error["where"].endswith("rows.jsonl:1")
    error = pairs(path, *columns, "translation.ro", code=1)[0]["error"]
    assert "is not text, but a number" in error["what"]
