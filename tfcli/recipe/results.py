"""What the commands around recipes print with --json."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from tfcli.recipe.spec import Result


class StepResult(BaseModel):
    """One step of a run."""

    model_config = ConfigDict(frozen=True)
    step: str = Field(description="The step's name in the recipe.")
    command: str = Field(description="The command it ran.")
    output: str = Field(description="The folder it made.")
    reused: bool = Field(description="Whether the folder was already there and up to date.")
    seconds: float = Field(description="Wall time of this run's part, in seconds.")
    result: dict[str, Any] = Field(description="The command's own result, with its schema.")


class RunResult(Result):
    """`tfcli run`."""

    schema_name: ClassVar[str] = "tfcli.run-recipe/1"
    recipe: str = Field(description="The recipe's name.")
    output: str = Field(description="The folder of the steps' folders.")
    steps: list[StepResult] = Field(description="The steps, in the order they ran.")


class RecipeEntry(BaseModel):
    """A shipped recipe."""

    name: str = Field(description="What `tfcli run` or the command takes.")
    description: str = Field(description="What it does.")
    commands: list[str] = Field(description="The command of each step.")


class RecipeListResult(Result):
    """`tfcli recipe list`."""

    schema_name: ClassVar[str] = "tfcli.recipe-list/1"
    recipes: list[RecipeEntry] = Field(description="The recipes that come with tfcli.")


class RecipeResult(Result):
    """`tfcli recipe show`."""

    schema_name: ClassVar[str] = "tfcli.recipe/1"
    name: str = Field(description="The recipe's name.")
    steps: dict[str, dict[str, Any]] = Field(
        description="Step name -> command and every key, defaults and references resolved."
    )


class RecipeCheckResult(Result):
    """`tfcli recipe validate`, for a recipe that is right; a wrong one gives an error."""

    schema_name: ClassVar[str] = "tfcli.recipe-check/1"
    steps: list[str] = Field(description="The steps that were checked.")
    family_files: dict[str, str] = Field(
        description="Step name -> its family_file, which validating does not run."
    )


class ErrorBody(BaseModel):
    """What went wrong."""

    what: str = Field(description="What is wrong.")
    where: str | None = Field(description="The file, key or tensor it is about.")
    fix: str | None = Field(description="What to do about it.")


class ErrorResult(Result):
    """Any command that fails, on stdout, when it was given --json."""

    schema_name: ClassVar[str] = "tfcli.error/1"
    exit_code: int = Field(description="1: the work failed; 2: wrong usage or recipe.")
    error: ErrorBody = Field(description="What went wrong.")
