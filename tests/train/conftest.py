"""A text of a few hundred tokens, a tokenizer for it, and a spec that trains in a second."""

from __future__ import annotations

import json
import random

import pytest

from tfcli.tokenizers.chatml import CHATML, CHATML_ROLES, CHATML_TOKENS
from tfcli.tokenizers.run import BPE, train_bpe, write_tokenizer
from tfcli.train.objectives.spec import WITHOUT_TEXT
from tfcli.train.spec import TrainSpec

TEXT = "the cat sat on a mat while another dog ran around this old house in winter"
WORDS = TEXT.split()


def sentences(seed: int, documents: int = 8, words: int = 60) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=words)) + "." for _ in range(documents)]


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A folder with train.jsonl, validation.jsonl and a tokenizer."""
    folder = tmp_path_factory.mktemp("texts")
    for name, seed, documents in (("train", 0, 8), ("validation", 1, 2)):
        lines = [json.dumps({"text": text}) for text in sentences(seed, documents)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "tokenizer").mkdir()
    write_tokenizer(train_bpe(sentences(0), 300), folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def chats(tmp_path_factory):
    """A folder with conversations of one and two turns, and a tokenizer with ChatML."""
    folder = tmp_path_factory.mktemp("chats")
    chance = random.Random(0)
    rows = []
    for number in range(24):
        said = [" ".join(chance.choices(WORDS, k=chance.randint(1, 6))) for _ in range(4)]
        roles = ("user", "assistant") * (1 + number % 2)
        messages = [
            {"role": role, "content": text} for role, text in zip(roles, said, strict=False)
        ]
        rows.append(json.dumps({"messages": messages}))
    (folder / "train.jsonl").write_text("\n".join(rows[:20]))
    (folder / "validation.jsonl").write_text("\n".join(rows[20:]))
    (folder / "tokenizer").mkdir()
    backend = train_bpe(sentences(0), 300, CHATML_TOKENS)
    write_tokenizer(backend, folder / "tokenizer", {**BPE, **CHATML_ROLES}, CHATML)
    return folder


@pytest.fixture
def make_spec(texts, tmp_path):
    """A function that gives the small spec with some keys changed."""

    def make(**changes) -> TrainSpec:
        values = {
            "output": str(tmp_path / "out"),
            "config": {
                "model_type": "llama",
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "max_position_embeddings": 64,
                "tie_word_embeddings": True,
            },
            "tokenizer": str(texts / "tokenizer"),
            "data": str(texts / "train.jsonl"),
            "sequence_length": 16,
            "batch_size": 4,
            "max_steps": 6,
            "precision": "float32",
            "device": "cpu",
        }
        for key, other in (("mixture", "data"), ("batch_tokens", "batch_size")):
            if key in changes and other not in changes:  # in its place
                del values[other]
        if changes.get("objective") in WITHOUT_TEXT:
            del values["tokenizer"], values["sequence_length"]
        return TrainSpec.model_validate({**values, **changes})

    return make
