"""Fixtures that many tests share: a tiny model with its tokenizer, and some text."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import durations, nightly

SENTENCES = (
    "The lexical analyser reads a line of source text and gives a stream of tokens.",
    "An assignment binds a name to an object; the object may have many names.",
    "A class statement makes a class, and calling the class makes an instance.",
    "Generators give their values one at a time — naïve code keeps them all.",
)


def pytest_terminal_summary(terminalreporter) -> None:
    """Says where the time went, so that a run that grows is noticed."""
    durations.show(terminalreporter)


def pytest_collection_modifyitems(items) -> None:
    """Says what a nightly run alone takes."""
    nightly.mark(items)


@pytest.fixture(scope="session")
def kernels_folder(tmp_path_factory) -> Path:
    """Where kernels are compiled, once for all workers of a run: what they are made of is in their
    names. Not beside the sources, where others may write: nothing is run from such a folder."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kernels"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(autouse=True, scope="session")
def _cache_of_their_own(tmp_path_factory, kernels_folder):
    """Tests, and what they start, remember no hashes in the user's cache."""
    before = os.environ.get("XDG_CACHE_HOME")
    home = tmp_path_factory.mktemp("cache")
    (home / "tfcli").mkdir()
    (home / "tfcli" / "kernels").symlink_to(kernels_folder)
    os.environ["XDG_CACHE_HOME"] = str(home)
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """Six documents as .jsonl, each shorter than the 128 positions of `tiny_llama`."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    texts = ["\n".join(SENTENCES[n % 4 : n % 4 + 2]) + f"\nNumber {n}.\n" for n in range(6)]
    lines = [json.dumps({"id": str(n), "text": text}) for n, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory) -> Path:
    """A byte-level BPE folder with 320 tokens; `<|endoftext|>` (0) begins every text."""
    from tfcli.tokenizers.run import train_bpe, write_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(train_bpe(SENTENCES * 3, 320), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory, tiny_tokenizer) -> Path:
    """A checkpoint folder: a two-layer llama with random float32 weights, and its tokenizer.

    Shared by the whole session: copy it before changing anything in it.
    """
    return make_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny", tiny_tokenizer)


def make_tiny_llama(folder: Path, tokenizer: Path, seed: int = 0, **changes: object) -> Path:
    """Write a tiny random llama; `changes` are keys of its config."""
    from tfcli.checkpoints.folder import save_model
    from tfcli.models.loading import build, initialize
    from tfcli.models.registry import read_config

    config = {
        "model_type": "llama",
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        # Larger than usual, so that predictions differ clearly from one another.
        "initializer_range": 0.2,
        **changes,
    }
    model = initialize(build(read_config(config), "causal-lm"), seed)
    save_model(model, folder, tokenizer_from=tokenizer)
    return folder
