"""What the commands around recipes print with --json."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from tfcli.recipe.spec import Result


class StepResult(BaseModel):
    """One step of a run."""

    model_config = ConfigDict(frozen=True)
    step: str = Field(description="The step's name in the recipe.")
    command: str = Field(description="The command it ran.")
    output: str | None = Field(description="The folder it made; null where it makes none.")
    reused: bool = Field(description="Whether the folder was already there and up to date.")
    seconds: float = Field(description="Wall time of this run's part, in seconds.")
    result: dict[str, Any] = Field(description="The command's own result, with its schema.")


class RunResult(Result):
    """`tfcli run`."""

    schema_name: ClassVar[str] = "tfcli.run-recipe/1"
    recipe: str = Field(description="The recipe's name.")
    output: str = Field(description="The folder of the steps' folders.")
    steps: list[StepResult] = Field(description="The steps, in the order they ran.")


class PlannedStep(BaseModel):
    """What one step would do."""

    step: str = Field(description="The step's name in the recipe.")
    command: str = Field(description="The command that it runs.")
    output: str | None = Field(description="The folder that it makes; null where it makes none.")
    plan: Literal["run", "run again", "up to date"] = Field(
        description="`run`: its folder is not there (an interrupted training goes on); `run "
        "again`: its options, inputs or files changed; or `up to date`."
    )


class RunPlanResult(Result):
    """`tfcli run --dry-run`."""

    schema_name: ClassVar[str] = "tfcli.run-plan/1"
    recipe: str = Field(description="The recipe's name.")
    output: str = Field(description="The folder of the steps' folders.")
    steps: list[PlannedStep] = Field(description="The steps, in the order they would run.")


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
        description="Step name -> its family_file, which only `--allow-code` runs."
    )


class RecipeSchemaResult(Result):
    """`tfcli recipe schema`."""

    schema_name: ClassVar[str] = "tfcli.recipe-schema/1"
    json_schema: dict[str, Any] = Field(
        description="The JSON Schema of recipe files; without --json it is printed alone."
    )


class ErrorPart(BaseModel):
    """One thing that is wrong."""

    code: str = Field(description="The kind of error, from the table below; stable.")
    what: str = Field(description="What is wrong, for people.")
    where: str | None = Field(description="The file, key or tensor that it is about.")
    fix: str | None = Field(description="What to do about it.")


class ErrorBody(ErrorPart):
    """What went wrong."""

    step: str | None = Field(
        description="The step that failed, of tfcli run; null for other commands."
    )
    errors: list[ErrorPart] = Field(
        description="Everything that is wrong, one by one; a single one is here too."
    )


class ErrorResult(Result):
    """Any command that fails, on stdout, when it was given --json."""

    schema_name: ClassVar[str] = "tfcli.error/1"
    exit_code: int = Field(
        description="The process's exit code. 1: the work failed; 2: wrong usage or recipe; 130: "
        "interrupted."
    )
    error: ErrorBody = Field(description="What went wrong.")
