"""What `tfcli tokenizer` takes and gives."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tfcli.recipe.shared_keys import TextField
from tfcli.recipe.spec import InputPath, OutputPath, Result, Spec

SMALLEST = 257
"""The 256 bytes and the end-of-text token."""


class TokenizerSpec(Spec):
    """Train a byte-level BPE tokenizer."""

    verb: ClassVar[str] = "tokenizer"
    positional: ClassVar[tuple[str, ...]] = ("data", "output")

    data: InputPath = Field(
        description="The training text: .txt, .jsonl, .csv, .parquet, or a folder of them."
    )
    output: OutputPath = Field(
        description="The folder for tokenizer.json and tokenizer_config.json."
    )
    vocab_size: int = Field(
        4096,
        ge=SMALLEST,
        description="Tokens of the vocabulary: 256 bytes, <|endoftext|>, and merges for the rest.",
    )
    text_field: TextField = "text"


class TokenizerResult(Result):
    """What `tfcli tokenizer` made."""

    schema_name: ClassVar[str] = "tfcli.tokenizer/1"

    vocab_size: int = Field(
        description="Tokens in the vocabulary; fewer than asked for when the text has no more."
    )
    special_tokens: dict[str, int] = Field(description="Special token -> id.")
    documents: int = Field(description="Documents trained on.")
    bytes: int = Field(description="UTF-8 bytes of the training text.")
    tokens: int = Field(description="Tokens of the training text, special tokens left out.")
    bytes_per_token: float = Field(description="How far the training text is compressed.")
