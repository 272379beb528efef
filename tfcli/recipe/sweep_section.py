"""What `tfcli sweep` varies in a recipe: the section `sweep`, which flags may give as well."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.spec import Section

Goal = Literal["lowest", "highest"]


class SweepSection(Section):
    """Which runs of a recipe there are, and which of them is the best."""

    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Key -> its values, such as `steps.train.optimizer.lr: [1e-3, 3e-4]`: every "
        "combination is a point.",
    )
    points: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Points by themselves, each a mapping of keys to values; they come after those "
        "of the grid.",
    )
    by: str = Field(
        description="The figure that says which point is the best: a step and a number of its "
        "result, such as loss.perplexity."
    )
    goal: Goal = Field(description="Which way `by` is better.")
    against: str | None = Field(
        None,
        description="A second figure, such as small.bytes_after: a plot shows which points are the "
        "best for what they cost.",
    )
    against_goal: Annotated[Goal | None, Only(against=GIVEN)] = Field(
        None, description="Which way `against` is better; left out, lowest."
    )

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if not self.grid and not any(self.points):
            raise ValueError("a sweep needs points: give grid or points")
        return self
