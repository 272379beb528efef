"""What options of several tasks have in common."""

from __future__ import annotations

from pydantic import Field

from tfcli.recipe.spec import Section


class Options(Section):
    """What a task can be asked for. One without options has this."""


class TextOptions(Options):
    """Of tasks that read texts."""

    truncation: bool = Field(
        False, description="Cut texts that are longer than max_length instead of refusing them."
    )
    max_length: int | None = Field(
        None,
        ge=1,
        description="The most tokens of a text with its special tokens. Left out, as many as the "
        "tokenizer or the model has positions for.",
    )
