"""What `tfcli data preview` finds, as data."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from tfcli.recipe.spec import Result


class PreviewPart(BaseModel):
    """A run of tokens that are all learned, or none of them."""

    model_config = ConfigDict(frozen=True)
    text: str = Field(description="The text of the tokens, special tokens spelt out.")
    learned: bool = Field(description="Whether the tokens are learned.")


class PreviewSample(BaseModel):
    """One example as the model reads it."""

    model_config = ConfigDict(frozen=True)
    tokens: int = Field(description="Tokens of the example.")
    learned: int = Field(description="The number of its tokens that are learned.")
    media: int = Field(0, description="Pictures and recordings in it.")
    features: int = Field(
        0,
        description="The number of its tokens that stand for features of these; one run of them "
        "is written once in the text, with its length.",
    )
    rows: list[list[PreviewPart]] = Field(
        description="The rows or windows in the example, several where they are packed; each is a "
        "list of its runs of tokens."
    )


class PreviewLengths(BaseModel):
    """How many examples have a length within a range."""

    model_config = ConfigDict(frozen=True)
    least: int = Field(description="The fewest tokens of the range.")
    most: int = Field(description="The most tokens of the range.")
    examples: int = Field(description="Examples whose length is within it.")


class PreviewResult(Result):
    """What a training would learn from."""

    schema_name: ClassVar[str] = "tfcli.data-preview/1"

    data: str = Field(description="The data of the training, all of its sources.")
    streamed: bool = Field(
        False,
        description="The data are read as they come: what is said of an epoch is said of the first "
        "buffer.",
    )
    examples: int = Field(description="Examples of the first epoch.")
    validation_examples: int | None = Field(description="Examples of the validation, or null.")
    tokens: int = Field(description="Tokens of the first epoch.")
    learned: int = Field(description="The number of these tokens that are learned.")
    features: int = Field(
        0, description="The number of these tokens that stand for features of media."
    )
    learned_share: float = Field(description="The share of the tokens that are learned.")
    lengths: list[PreviewLengths] = Field(description="The lengths of the examples.")
    samples: list[PreviewSample] = Field(description="The first examples of the first epoch.")
