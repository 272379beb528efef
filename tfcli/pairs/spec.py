"""What `tfcli pairs` takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.spec import DataRef, OutputPath, Result, Spec, TokenizerPath

Form = Literal["jsonl", "lines", "json"]


class PairsSpec(Spec):
    """Prepare pairs of texts, such as translations: read them, pack them, count their tokens."""

    verb: ClassVar[str] = "pairs"
    positional: ClassVar[tuple[str, ...]] = ("source", "output")

    source: DataRef = Field(
        description="The pairs: a folder with train.source and train.target, a pair a line (other "
        "splits too), rows (.jsonl, .json, .csv, .parquet, .arrow, or a folder of them), or a data "
        "set on the hub."
    )
    output: OutputPath = Field(description="The folder for the splits.")
    source_column: str = Field(
        "source",
        min_length=1,
        description="Where a row has its source; dots lead into what is nested: translation.en.",
    )
    target_column: str = Field(
        "target", min_length=1, description="Where a row has its target: translation.ro."
    )
    splits: list[str] | None = Field(
        None,
        min_length=1,
        description="The splits that are read; left out, those of train, validation and test that "
        "are there.",
    )
    first: int | None = Field(
        None, ge=1, description="Take so many pairs of each split, from its beginning."
    )
    pack_tokens: int | None = Field(
        None,
        ge=1,
        description="Join pairs that follow each other, with a space between them, as long as "
        "neither the sources nor the targets come to more tokens than this.",
    )
    pack_splits: Annotated[list[str], Only(pack_tokens=GIVEN)] = Field(
        ["train"],
        min_length=1,
        description="The splits that are packed; the others are written pair by pair, as an "
        "evaluation needs them.",
    )
    lengths: Literal["source", "longer"] | None = Field(
        None,
        description="Also write SPLIT.lengths.json, a list with the tokens of each pair that is "
        "written: of its source, or of the longer of its two texts.",
    )
    tokenizer: Annotated[TokenizerPath | None, Only(either=("pack_tokens", "lengths"))] = Field(
        None, description="What counts tokens, with those that it puts around a text."
    )
    format: Form = Field(
        "jsonl",
        description="What is written of a split: rows that train reads (jsonl), SPLIT.source and "
        'SPLIT.target, a text a line (lines), or {"src": [...], "tgt": [...]} for an evaluation '
        "(json).",
    )

    @model_validator(mode="after")
    def _tokens_are_counted_by_something(self) -> Self:
        if self.tokenizer is None and (self.pack_tokens is not None or self.lengths is not None):
            key = "pack_tokens" if self.pack_tokens is not None else "lengths"
            raise ValueError(f"{key} counts tokens: give the tokenizer")
        return self


class PairsSplit(BaseModel):
    """One split."""

    model_config = ConfigDict(frozen=True)
    read: int = Field(description="Pairs that were read.")
    written: int = Field(description="Pairs that were written; fewer where it was packed.")
    longer: int | None = Field(
        description="Pairs that are longer than pack_tokens by themselves, and stay as they are; "
        "null where nothing was packed."
    )
    source_tokens: int | None = Field(
        description="Tokens of the written sources; null where no tokens were counted."
    )
    target_tokens: int | None = Field(description="Tokens of the written targets.")


class PairsResult(Result):
    """What `tfcli pairs` made."""

    schema_name: ClassVar[str] = "tfcli.pairs/1"

    source: str = Field(description="Where the pairs came from.")
    splits: dict[str, PairsSplit] = Field(description="Each split by its name.")
    files: list[str] = Field(description="The files that were written.")
