"""What `tfcli predict` takes and gives."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from tfcli.errors import UsageError
from tfcli.families import FamilyFile
from tfcli.predict.names import known, resolve
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, LoadIn
from tfcli.recipe.spec import InputPath, ModelRef, OutputFile, Result, Spec
from tfcli.recipe.validate import build_spec

STANDARD = "-"
"""Stands for standard input and standard output."""
_STANDARD_INPUT = "/dev/stdin"
_OF_LINES = ("row", "output", "error")
"""What a line of the output has of its own."""


class PredictSpec(Spec):
    """Predict something for each row of a file."""

    verb: ClassVar[str] = "predict"
    positional: ClassVar[tuple[str, ...]] = ("model",)
    resumable: ClassVar[bool] = True
    suffix: ClassVar[str | None] = ".jsonl"

    task: str = Field(
        description="What is predicted: the name of a task of transformers' pipelines or an alias, "
        "such as text-classification, ner or translation_en_to_de; docs/predict.md lists them. An "
        "installed package may add tasks of its own."
    )
    model: ModelRef = Field(
        description="The model: a folder or file of any container, or a hub id "
        "org/name[:file][@revision]. Left out, the task's own, at a commit that does not change."
    )
    input: InputPath = Field(
        description="The rows: a .jsonl, .json, .csv, .parquet or .arrow file or a folder of such; "
        "- reads JSON lines from standard input."
    )
    output: OutputFile = Field(
        description="The .jsonl file with a line for each row, in the rows' order; - writes to "
        "standard output."
    )
    columns: dict[str, str] = Field(
        {},
        description="The columns that the task's inputs stand in, where rows have them under other "
        "names: input to column.",
    )
    keep: list[str] = Field(
        [], description="A column that goes along into the output. Can be repeated."
    )
    options: dict[str, Any] = Field(
        {},
        description="What the task can be asked for, such as top_k; docs/predict.md lists it for "
        "each task.",
    )
    batch_size: int = Field(
        8, ge=1, description="How many inputs the model sees at once; it changes no prediction."
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop",
        description="A row that cannot be predicted stops the work, or what is wrong with it is "
        "written in its place.",
    )
    load_in: LoadIn = None
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    family_file: FamilyFile = None

    @classmethod
    def as_keys(cls, data: Any) -> Any:
        """With the task's own model where none is named."""
        data = super().as_keys(data)
        if not isinstance(data, dict) or data.get("model") is not None:
            return data
        task = data.get("task")
        try:
            found = known(resolve(task)) if isinstance(task, str) else None
        except UsageError:
            found = None  # the task's own validator says so
        return data if found is None or found.model is None else {**data, "model": found.model}

    @field_validator("task")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            return resolve(value)
        except UsageError as error:
            raise ValueError(f"{error.what}; {error.fix}") from error

    @field_validator("input")
    @classmethod
    def _standard_input(cls, value: str) -> str:
        return _STANDARD_INPUT if value == STANDARD else value

    @field_validator("keep")
    @classmethod
    def _keeps_others(cls, value: list[str]) -> list[str]:
        taken = [name for name in value if name in _OF_LINES]
        if taken:
            raise ValueError(
                f"a line of the output has a {taken[0]!r} of its own; call the column otherwise"
            )
        return value

    @model_validator(mode="after")
    def _has_such_options(self) -> Self:
        """Those of packages' tasks are checked with the work: their code runs no sooner."""
        found = known(self.task)
        if found is None:
            return self
        try:
            build_spec(found.options_class(), self.options, prefix=("options",))
        except UsageError as error:
            fix = "" if error.fix is None else f" ({error.fix})"
            where = "" if error.where is None else f"{error.where}: "
            raise ValueError(f"{where}{error.what}{fix}") from error
        return self

    def target(self) -> str | None:
        """The file; None for standard output."""
        return None if self.output == STANDARD else self.output


class BadRow(BaseModel):
    """A row without a prediction."""

    row: int = Field(description="The row's number, from 0.")
    where: str = Field(description="The row's file and line.")
    error: str = Field(description="What is wrong.")


class PredictResult(Result):
    """What `tfcli predict` did."""

    schema_name: ClassVar[str] = "tfcli.predict/1"

    task: str = Field(description="The task, by the name that an alias stands for.")
    model: str = Field(description="The model.")
    output: str = Field(description="The file, or - for standard output.")
    rows: int = Field(description="Lines in the output, one for each row.")
    failed: int = Field(description="How many of these have no prediction.")
    resumed: int = Field(description="How many an interrupted run had made already.")
    bad_rows: list[BadRow] = Field(description="The first of the rows without a prediction.")
    dtype: str = Field(description="The type that the model computed in.")
    device: str = Field(description="Where it ran.")
    seconds: float = Field(description="Time of predicting, without loading.")
    rows_per_second: float = Field(description="Rows of this run by that time.")
