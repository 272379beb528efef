"""The keys of `tfcli train` that say what is seen and kept of a run; imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.spec import Section
from tfcli.train.pace import Interval

TrackerName = Literal["tensorboard", "wandb", "trackio", "csv"]
TRACKED = Only(trackers=GIVEN)


class TrackingSection(Section):
    """Which tools are told of the run."""

    stands_for: ClassVar[str | None] = "trackers"

    trackers: list[TrackerName] | None = Field(
        None,
        description="Tools that are told of every step: tensorboard, wandb and trackio, which are "
        "installed apart, or csv, a table beside metrics.jsonl.",
    )
    project: Annotated[str, TRACKED] = Field(
        "tfcli", min_length=1, description="The project that wandb and trackio file the run under."
    )
    run: Annotated[str | None, TRACKED] = Field(
        None, min_length=1, description="The run's name there; left out, one is made up."
    )
    folder: Annotated[str | None, TRACKED] = Field(
        None,
        description="Where tensorboard and wandb write; left out, the output folder, which has "
        "another name while the run goes on.",
    )

    @field_validator("trackers", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def elsewhere(self) -> list[TrackerName]:
        """The trackers that are tools of their own."""
        return [name for name in self.trackers or [] if name != "csv"]


class EarlyStoppingSection(Section):
    """When a run that no longer gets better ends."""

    patience: int | None = Field(
        None,
        ge=1,
        description="End after so many validations in a row without a better loss, or "
        "best_metric; left out, the run goes on.",
    )
    min_delta: Annotated[float, Only(patience=GIVEN)] = Field(
        0.0, ge=0, description="By how much it must be better to count."
    )


class SamplesSection(Section):
    """Texts that the model makes while it learns."""

    prompts: list[str] | None = Field(
        None,
        min_length=1,
        description="Texts that are continued now and then: shown, and kept in samples.jsonl.",
    )
    every: Annotated[Interval, Only(prompts=GIVEN)] = Field(
        "10%", description="How often: steps, or a text such as '1 epoch', '10 minutes' or '10%'."
    )
    max_new_tokens: Annotated[int, Only(prompts=GIVEN)] = Field(
        40, ge=1, description="The most new tokens of each."
    )
