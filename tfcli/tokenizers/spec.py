"""What `tfcli tokenizer` takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfcli.recipe.marks import Only
from tfcli.recipe.shared_keys import TextField
from tfcli.recipe.spec import InputPath, OutputPath, Result, Spec
from tfcli.tokenizers.chatml import CHATML_TOKENS

SMALLEST = 257
"""The 256 bytes and the end-of-text token."""


class TokenizerSpec(Spec):
    """Train a tokenizer: byte-level BPE, WordPiece or Unigram."""

    verb: ClassVar[str] = "tokenizer"
    positional: ClassVar[tuple[str, ...]] = ("data", "output")

    data: InputPath = Field(
        description="The training text: .txt, .jsonl, .csv, .parquet, or a folder of them."
    )
    output: OutputPath = Field(
        description="The folder for tokenizer.json and tokenizer_config.json."
    )
    algorithm: Literal["bpe", "wordpiece", "unigram"] = Field(
        "bpe",
        description="How text is cut: byte-level BPE as of GPT-2, WordPiece as of BERT, or Unigram "
        "as of T5.",
    )
    vocab_size: int = Field(
        4096,
        ge=SMALLEST,
        description="Tokens of the vocabulary: special tokens, bytes (bpe) or letters, and merges "
        "or pieces for the rest.",
    )
    special_tokens: list[str] = Field(
        [],
        description="Special tokens beside those of the algorithm, such as <extra_id_0>; they are "
        "never cut.",
    )
    lowercase: Annotated[bool, Only(algorithm=("wordpiece",))] = Field(
        True, description="Whether capitals and accents are dropped, as in uncased BERT."
    )
    chat_template: Annotated[Literal["chatml", "none"], Only(algorithm=("bpe",))] = Field(
        "chatml",
        description="The chat template of models with this tokenizer: chatml, with the special "
        "tokens <|im_start|> and <|im_end|>, at which a new model ends a text too; or none.",
    )
    vocabulary_files: bool = Field(
        False,
        description="Whether the vocabulary is also written in the algorithm's own files, for "
        "tools that do not read tokenizer.json: vocab.json and merges.txt (bpe), vocab.txt "
        "(wordpiece) or spiece.model (unigram).",
    )
    text_field: TextField = "text"

    @property
    def chatml(self) -> bool:
        """Whether the tokenizer has ChatML."""
        return self.algorithm == "bpe" and self.chat_template == "chatml"

    @property
    def further_tokens(self) -> tuple[str, ...]:
        """Special tokens beside those of the algorithm, each once."""
        template = CHATML_TOKENS if self.chatml else ()
        return tuple(dict.fromkeys((*template, *self.special_tokens)))

    @model_validator(mode="after")
    def _tokens_fit(self) -> Self:
        if not all(token.strip() for token in self.special_tokens):
            raise ValueError("special_tokens has a token without a letter")
        least = SMALLEST + len(self.further_tokens)
        if self.vocab_size < least:
            without = f"; those of ChatML are {len(CHATML_TOKENS)}, chat_template none has none"
            raise ValueError(
                f"vocab_size ({self.vocab_size}) leaves no room for the special tokens: "
                f"at least {least}{without if self.chatml else ''}"
            )
        return self


class TokenizerResult(Result):
    """What `tfcli tokenizer` made."""

    schema_name: ClassVar[str] = "tfcli.tokenizer/1"

    algorithm: str = Field(description="How the tokenizer cuts text: bpe, wordpiece or unigram.")
    vocab_size: int = Field(
        description="Tokens in the vocabulary; fewer than asked for when the text has no more."
    )
    special_tokens: dict[str, int] = Field(description="Special token -> id.")
    chat_template: str | None = Field(description="The name of its chat template, or null.")
    documents: int = Field(description="Documents trained on.")
    bytes: int = Field(description="UTF-8 bytes of the training text.")
    tokens: int = Field(description="Tokens of the training text, special tokens left out.")
    bytes_per_token: float = Field(description="How far the training text is compressed.")
