"""A small tokenizer folder, trained on a few sentences."""

from pathlib import Path

import pytest

from tfcli.tokenizers.run import train_bpe, write_tokenizer

TEXTS = ["the cat sat on the mat and the dog sat on the log", "héllo wörld, it's 3.14 — 𝄞!"] * 3


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(train_bpe(TEXTS, 300), path)
    return path
