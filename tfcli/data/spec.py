"""What `tfcli data` takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tfcli.recipe.shared_keys import DRAWINGS, PYTHON_DOCS, Seed, TextField
from tfcli.recipe.spec import OutputPath, Result, Role, Spec

OF_DRAWINGS = ("labels", "chats")
"""The exercises that there are of drawings."""


class DataSpec(Spec):
    """Prepare text: drop repeats, split by document."""

    verb: ClassVar[str] = "data"
    positional: ClassVar[tuple[str, ...]] = ("source", "output")

    source: Annotated[str, Role("input", words=(PYTHON_DOCS, DRAWINGS))] = Field(
        description="The text: python-docs (Python's language reference), a .txt, .jsonl, .csv or "
        ".parquet file, or a folder of them; or drawings: what small drawings of shapes show."
    )
    output: OutputPath = Field(
        description="The folder for train.jsonl, validation.jsonl and test.jsonl."
    )
    validation: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="The share of the characters that goes into the validation split.",
    )
    test: float = Field(
        0.1, ge=0, lt=1, description="The share of the characters that goes into the test split."
    )
    seed: Seed = Field(0, description="The seed that decides which document goes into which split.")
    text_field: TextField = "text"
    exercise: (
        Literal[
            "chats",
            "labels",
            "tags",
            "targets",
            "questions",
            "preferences",
            "judgements",
            "choices",
            "halves",
        ]
        | None
    ) = Field(
        None,
        description="Make rows of a small task of the documents, to try an objective of train on, "
        "in place of texts: a heading is asked about, and the paragraph below it answers (chats); "
        "what a paragraph is (labels), what its words are (tags), what the first ones are, as a "
        "text (targets), what it quotes (questions), in which order its words are better "
        "(preferences), whether they are in order (judgements), which of two spellings is right "
        "(choices), or which of its words belong together (halves). Of drawings there are labels "
        "(the shape) and chats (a picture is asked about).",
    )

    @model_validator(mode="after")
    def _exercise_is_one_of_drawings(self) -> Self:
        if self.source == DRAWINGS.name and self.exercise not in (None, *OF_DRAWINGS):
            raise ValueError(
                f"exercise: {self.exercise} is made of texts; of drawings there are "
                f"{' and '.join(OF_DRAWINGS)}"
            )
        return self

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together must leave a share for training")
        return self


class SplitSize(BaseModel):
    """How much text a split holds."""

    model_config = ConfigDict(frozen=True)
    documents: int = Field(description="Documents in the split.")
    characters: int = Field(description="Characters of their text.")
    bytes: int = Field(description="UTF-8 bytes of their text.")


class DataResult(Result):
    """What `tfcli data` made."""

    schema_name: ClassVar[str] = "tfcli.data/1"

    source: str = Field(description="Where the text came from.")
    documents: int = Field(description="Documents kept, in all splits.")
    documents_dropped: int = Field(description="Documents of which no paragraph was left.")
    paragraphs: int = Field(description="Paragraphs kept, each once.")
    paragraphs_dropped: int = Field(description="Paragraphs that repeated an earlier one.")
    splits: dict[str, SplitSize] = Field(description="train, validation and test.")
    rows: dict[str, int] | None = Field(
        None, description="Rows of each split, where an exercise was made of it."
    )
