"""The keys of `tfcli train` that say what rows of data are and how they become examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tfcli.recipe.marks import Only
from tfcli.recipe.spec import DataRef, Section

FormatName = Literal["text", "messages", "sharegpt", "completion", "alpaca"]


class SourceSection(Section):
    """One of the sources of a mixture."""

    stands_for: ClassVar[str | None] = "path"

    path: DataRef = Field(description="The data of the source: what data may be.")
    weight: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="The share of the examples that the source has, in proportion to the others' "
        "weights.",
    )
    split: str | None = Field(
        None, min_length=1, description="The split that is read; left out, that of the recipe."
    )
    text_field: str | None = Field(
        None, min_length=1, description="The source's text_field; left out, that of the recipe."
    )
    columns: dict[str, str] | None = Field(
        None, description="The source's columns; left out, those of the recipe."
    )
    format: FormatName | None = Field(
        None,
        description="The form of the source's rows; left out, rows.format, or what the first row "
        "tells.",
    )


@dataclass(frozen=True)
class DataSource:
    """Where examples come from.

    Args:
        key: of the recipe, for errors.
        path: of a file or folder.
        weight: its share of the examples, in proportion to the others'.
    """

    key: str
    path: str
    weight: float = 1.0


class RowsSection(Section):
    """How rows that are no plain text become examples: prompts with completions, and chats."""

    format: FormatName | None = Field(
        None,
        description="The form of the rows; left out, the first row tells: text, messages (role and "
        "content), conversations (from and value), prompt and completion, or instruction and "
        "output.",
    )
    train_on: Literal["assistant", "all"] = Field(
        "assistant",
        description="The tokens to learn: the assistant's turns and the completions, with the "
        "token that ends each (assistant), or all of a row (all).",
    )
    truncate: Literal["drop", "cut", "error"] = Field(
        "drop",
        description="What becomes of rows of more tokens than sequence_length: they are left out "
        "(drop), lose their ends (cut), or are an error that names the first (error).",
    )
    packing: bool = Field(
        False,
        description="Put several rows into one of sequence_length tokens, as many as fit. They do "
        "not see each other, and gradients are those of single rows.",
    )
    group_by_length: Annotated[bool, Only(packing=(False,))] = Field(
        False,
        description="Put rows of like length into one batch, so that less is filled up; the order "
        "is random otherwise.",
    )
