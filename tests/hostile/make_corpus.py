"""Makes the hostile checkpoints: `python -m tests.hostile.make_corpus FOLDER` writes and lists.

A hostile checkpoint is a good one that differs in one thing. Nothing of it is stored here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conftest import SENTENCES, make_tiny_llama
from tests.hostile import (
    config_cases,
    gguf_cases,
    parts_cases,
    pickle_cases,
    safetensors_cases,
    trainer_cases,
)
from tests.hostile.case import Corpus
from tfcli.tokenizers.run import train_bpe, write_tokenizer

MAKERS = (
    safetensors_cases.make,
    pickle_cases.make,
    gguf_cases.make,
    config_cases.make,
    trainer_cases.make,
    parts_cases.make,
)


def make_corpus(folder: Path, command: str) -> Corpus:
    """Write all checkpoints: hostile ones to `folder`/corpus, good ones to `folder`/good.

    Args:
        folder: an empty one.
        command: a shell command for files that can carry code.
    """
    corpus = Corpus(folder / "corpus", command)
    corpus.folder.mkdir()
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    write_tokenizer(train_bpe(SENTENCES * 3, 320), tokenizer)
    corpus.good["llama"] = make_tiny_llama(folder / "good" / "llama", tokenizer)
    for make in MAKERS:
        make(corpus)
    return corpus


if __name__ == "__main__":
    made = make_corpus(Path(sys.argv[1]), "touch canary")
    for case in made.cases:
        print(f"{case.name}: {case.file}: {case.says}")
