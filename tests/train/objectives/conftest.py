"""Rows in files, a WordPiece tokenizer, and whole runs of a spec."""

from __future__ import annotations

import json

import pytest

from tests.train.conftest import sentences
from tests.train.objectives.support import BERT
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.job import Job
from tfcli.tokenizers.run import UNIGRAM, WORDPIECE, write_tokenizer
from tfcli.tokenizers.training import train_unigram, train_wordpiece
from tfcli.train.run import run


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> str:
    """A folder with a WordPiece tokenizer of 120 tokens."""
    folder = tmp_path_factory.mktemp("words")
    write_tokenizer(train_wordpiece(sentences(0), 120), folder, WORDPIECE)
    return str(folder)


@pytest.fixture(scope="session")
def pieces(tmp_path_factory) -> str:
    """A folder with a Unigram tokenizer, as of T5."""
    folder = tmp_path_factory.mktemp("pieces")
    write_tokenizer(train_unigram(sentences(0), 80)[0], folder, UNIGRAM)
    return str(folder)


@pytest.fixture
def rows_file(tmp_path):
    """A function that writes rows as a .jsonl file and gives its path."""

    def write(rows, name="rows.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def spec_of(make_spec, words, rows_file):
    """A function that gives a spec of an objective on some rows."""

    def make(objective, rows, **changes):
        values = {"config": BERT, "tokenizer": words, "sequence_length": 32}
        return make_spec(objective=objective, data=rows_file(rows), **{**values, **changes})

    return make


@pytest.fixture
def train(tmp_path):
    """A function that trains a spec and gives the result and its folder."""

    def do(spec):
        folder = tmp_path / "out"
        folder.mkdir()
        return run(spec, Job(folder=folder)), folder

    return do


def refused(call) -> UsageError | WorkError:
    """The problem that a call ends with."""
    with pytest.raises((UsageError, WorkError)) as error:
        call()
    return error.value
