"""The keys of `tfcli train` that say what rows of data are and how they become examples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfcli.recipe.marks import Only
from tfcli.recipe.spec import Section


class RowsSection(Section):
    """How rows that are no plain text become examples: prompts with completions, and chats."""

    format: Literal["text", "messages", "sharegpt", "completion", "alpaca"] | None = Field(
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
