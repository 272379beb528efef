"""What `tfcli sweep` gives."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from tfcli.recipe.results import ErrorPart
from tfcli.recipe.spec import Result
from tfcli.recipe.sweep_section import Goal


class SweepError(ErrorPart):
    """Why a point has no figures."""

    step: str | None = Field(description="The step that failed; null where a figure is missing.")


class SweepPoint(BaseModel):
    """One point."""

    model_config = ConfigDict(frozen=True)
    number: int = Field(description="Its number, in the order of the runs.")
    settings: dict[str, Any] = Field(description="The keys that it sets, and their values.")
    status: Literal["done", "failed", "to come"] = Field(
        description="`to come` only in the sweep.json of a sweep that has not ended."
    )
    value: float | None = Field(None, description="The figure `by`.")
    against: float | None = Field(None, description="The figure `against`.")
    front: bool = Field(
        False, description="Whether no other point is better in one of the two and as good in both."
    )
    folders: dict[str, str] = Field(description="Step -> its folder, which points may share.")
    seconds: float = Field(0, description="Wall time of the steps that were run for it.")
    error: SweepError | None = Field(None, description="What went wrong.")


class SweepResult(Result):
    """`tfcli sweep`, and the content of sweep.json."""

    schema_name: ClassVar[str] = "tfcli.sweep/1"
    recipe: str = Field(description="The recipe's name.")
    output: str = Field(description="The folder of the steps' folders and of the files below.")
    by: str = Field(description="The figure that the points are sorted by.")
    goal: Goal = Field(description="Which way it is better.")
    against: str | None = Field(description="The second figure, or null.")
    against_goal: Goal | None = Field(description="Which way it is better.")
    points: list[SweepPoint] = Field(
        description="The points, the best first; those without figures last."
    )
    best: int | None = Field(description="The number of the best point; null without one.")
    best_recipe: str | None = Field(description="The best point as a recipe: best.yaml.")
    markdown: str = Field(description="The table: sweep.md.")
    page: str = Field(description="The table and the plot as a page: sweep.html.")
