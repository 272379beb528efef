"""The keys of `tfcli train` that say what is learned from which data, and how rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.shared_keys import TextField
from tfcli.recipe.spec import DataRef, Section
from tfcli.train.objectives.spec import CAUSAL, IN_ROWS, IN_TEXTS, WINDOWED, ObjectiveName

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


class DataKeys(Section):
    """What is learned, and from what."""

    objective: ObjectiveName = Field(
        "causal-lm",
        description="What is learned: the next token of texts (causal-lm), what another model "
        "thinks of it (distillation), hidden tokens of texts (masked-lm) or parts that were cut "
        "out of them (glm), a text from another (seq2seq), labels of texts "
        "(sequence-classification), of their words (token-classification) or of pictures "
        "(image-classification), where a text answers a question (question-answering) or which of "
        "several does (multiple-choice), which texts belong together (contrastive), to prefer one "
        "answer to another (dpo, ipo, orpo, simpo), which answers are good (kto), or which of two "
        "is the better one (reward).",
    )
    data: DataRef | None = Field(
        None,
        description="Training data: texts (.txt, .md, .rst, or a column of .jsonl, .csv, "
        ".parquet), or rows with prompts, conversations or other columns (.jsonl, .json, .csv, "
        ".parquet, .arrow); a file or a folder of them, a folder of pictures for each label, or a "
        "data set on the hub.",
    )
    mixture: dict[str, SourceSection] = Field(
        {},
        description="Several sources in place of data, under names of yours, each with a weight.",
    )
    stream: bool = Field(
        False,
        description="Read data as training needs them, in place of all before it begins: for data "
        "larger than memory. Steps are given by max_steps then.",
    )
    stream_buffer: Annotated[int, Only(stream=(True,))] = Field(
        10_000,
        ge=1,
        description="Rows or documents of each source that are in memory at once: they are "
        "shuffled, and packed, among themselves.",
    )
    split: str = Field(
        "train",
        min_length=1,
        description="Which split of a folder or data set is trained on, where its files are of "
        "several.",
    )
    validation: DataRef | None = Field(
        None, description="Validation data, in the same forms; never trained on."
    )
    validation_split: Annotated[str, Only(validation=GIVEN)] = Field(
        "validation", min_length=1, description="Which split of the validation data is read."
    )
    validation_share: Annotated[float | None, Only(objective=CAUSAL)] = Field(
        None,
        gt=0,
        lt=1,
        description="The share of the rows or documents of data that is held out for validation "
        "where none is given; equal ones stay together.",
    )
    text_field: Annotated[TextField, Only(objective=IN_TEXTS)] = "text"
    columns: Annotated[dict[str, str], Only(objective=(*CAUSAL, *IN_ROWS))] = Field(
        {},
        description="What the objective takes of a row, and the column that has it, where that is "
        "called otherwise, such as {prompt: question}; docs/objectives.md has the names of each.",
    )
    rows: Annotated[RowsSection, Only(objective=CAUSAL)] = RowsSection()
    bpe_dropout: Annotated[float, Only(off=0, objective=WINDOWED)] = Field(
        0.0,
        ge=0,
        lt=1,
        description="The share of BPE merges that is left out, drawn anew each epoch; 0.1 is "
        "usual.",
    )
