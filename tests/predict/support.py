"""Tiny models with tokenizers, as transformers and tfcli both load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import SENTENCES
from tfcli.checkpoints.folder import save_model
from tfcli.files import write_json
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.tokenizers.run import WORDPIECE, write_tokenizer
from tfcli.tokenizers.training import train_wordpiece

BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
TEXTS = [
    "The lexical analyser reads a line of source text.",
    "An assignment binds a name.",
    "A class statement makes a class, and calling the class makes an instance of the class.",
]


def make_words(folder: Path) -> Path:
    """A WordPiece tokenizer whose folder says what transformers needs to load it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(train_wordpiece(SENTENCES * 3, 200), folder, WORDPIECE)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", {**config, "model_max_length": 64})
    return folder


def make_model(
    folder: Path, tokenizer: Path | None, task: str, seed: int = 0, **config: Any
) -> Path:
    """Write a tiny random model with a head."""
    model = initialize(build(read_config(BERT | config), task), seed)
    save_model(model, folder, tokenizer_from=tokenizer)
    return folder


def close(one: Any, other: Any, tolerance: float = 1e-5) -> bool:
    """Whether two answers are equal, numbers up to a tolerance."""
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k], tolerance) for k in one)
    if isinstance(other, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(close(a, b, tolerance) for a, b in pairs)
    if isinstance(one, float):  # transformers' may be numpy's
        return abs(one - other) <= tolerance * max(1.0, abs(other))
    return bool(one == other)
