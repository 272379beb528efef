"""The keys of `tfcli train` that say what is measured, seen and kept of a run; imports no
torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.spec import Section
from tfcli.train.measures.spec import MEASURED, GenerationSection
from tfcli.train.pace import Interval

TrackerName = Literal["tensorboard", "wandb", "trackio", "csv"]
VALIDATION = ("validation", "validation_share")
"""The keys that say what is validated on."""
_READERS: dict[str, tuple[TrackerName, ...]] = {
    "project": ("wandb", "trackio"),
    "run": ("tensorboard", "wandb", "trackio"),
    "folder": ("tensorboard", "wandb"),
}
"""Key -> the trackers that look at it."""
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

    @model_validator(mode="after")
    def _keys_are_of_its_trackers(self) -> Self:
        for key, readers in _READERS.items():
            given = getattr(self, key) != type(self).model_fields[key].default
            if given and self.trackers is not None and not {*readers} & {*self.trackers}:
                raise ValueError(
                    f"{key} has no effect on {' and '.join(self.trackers)}: {' and '.join(readers)}"
                    " look at it"
                )
        return self

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


class CourseKeys(Section):
    """What is measured, seen and kept while a run goes on."""

    validate_every: Annotated[Interval, Only(off=0, either=VALIDATION)] = Field(
        100,
        description="How often the validation loss is measured: steps, or a text such as "
        "'1 epoch', '10 minutes' or '5%' of the run; 0: at the end only.",
    )
    metrics: Annotated[list[str] | None, Only(objective=MEASURED, either=VALIDATION)] = Field(
        None,
        description="What is measured on the validation beside its loss, such as [accuracy, f1]; "
        "left out, the objective's usual ones, and [] for none. docs/objectives.md has those of "
        "each.",
    )
    generation: Annotated[GenerationSection, Only(objective=("seq2seq",), metrics=GIVEN)] = (
        GenerationSection()
    )
    checkpoint_every: Interval = Field(
        100,
        description="How often a checkpoint is written that a rerun goes on from, alike; 0: never.",
    )
    keep_checkpoints: int = Field(
        2, ge=1, description="Checkpoints that stay; older ones go once a newer one is whole."
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="The weights to keep: the last ones, or those of the best validation.",
    )
    best_metric: Annotated[str | None, Only(either=VALIDATION)] = Field(
        None,
        description="The metric that says which validation is the best one; left out, the loss.",
    )
    early_stopping: Annotated[EarlyStoppingSection, Only(either=VALIDATION)] = (
        EarlyStoppingSection()
    )
    samples: SamplesSection = SamplesSection()
    tracking: TrackingSection = TrackingSection()
