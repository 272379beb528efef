"""What options of several tasks have in common."""

from __future__ import annotations

from pydantic import Field, field_validator

from tfcli.recipe.spec import Section


class Options(Section):
    """What a task can be asked for. One without options has this."""


class LabelOptions(Options):
    """Of tasks that choose from any labels."""

    candidate_labels: list[str] = Field(
        [], description="The labels to choose from, where a row has none of its own."
    )
    hypothesis_template: str = Field(description="The text of a label; {} stands for it.")

    @field_validator("hypothesis_template")
    @classmethod
    def _has_a_place(cls, value: str) -> str:
        try:
            if value.format("label") != value:
                return value
        except (LookupError, ValueError):  # other places than that of the label
            pass
        raise ValueError(f"{value!r} has no place for a label alone: put {{}} where it belongs")


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
