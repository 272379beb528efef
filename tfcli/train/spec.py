"""What `tfcli train` takes and what it says of the run.

The keys stand in files of one subject each: `start_spec`, `data_spec`, `objectives/spec`,
`moving_spec`, `tracking_spec` and `computing_spec`; what does not go together is in `spec_checks`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfcli.recipe.spec import Result, Spec
from tfcli.train.computing_spec import ComputingKeys
from tfcli.train.data_spec import DataKeys, DataSource
from tfcli.train.moving_spec import ADAPTER_RATE, NEW_RATE, PRETRAINED_RATE, StepKeys
from tfcli.train.objectives.spec import ObjectiveKeys
from tfcli.train.spec_checks import check_adapter, check_keys
from tfcli.train.start_spec import StartKeys
from tfcli.train.tracking_spec import CourseKeys


class TrainSpec(
    # Bases are looked at from the last one on, so that keys stand in this order from below.
    ComputingKeys,
    CourseKeys,
    StepKeys,
    ObjectiveKeys,
    DataKeys,
    StartKeys,
    Spec,
):
    """Train a model, new or from a checkpoint."""

    verb: ClassVar[str] = "train"
    loads_first: ClassVar[bool] = True
    resumable: ClassVar[bool] = True
    scratch: ClassVar[tuple[str, ...]] = ("checkpoint-*", "best", "stopped-*", ".*.tmp")
    distributed: ClassVar[bool] = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_adapter(self)
        check_keys(self)
        return self

    @property
    def sources(self) -> list[DataSource]:
        """Where what is trained on comes from."""
        if self.data is not None:
            return [DataSource("data", self.data)]
        return [
            DataSource(f"mixture.{name}", each.path, each.weight)
            for name, each in self.mixture.items()
        ]

    def of(self, source: DataSource) -> Self:
        """The spec with what it says of one source in the place of what it says of all."""
        if source.key == "data":
            return self
        own = self.mixture[source.key.removeprefix("mixture.")]
        changes: dict[str, Any] = {"data": own.path, "mixture": {}}
        if own.split is not None:
            changes["split"] = own.split
        if own.text_field is not None:
            changes["text_field"] = own.text_field
        if own.columns is not None:
            changes["columns"] = own.columns
        if own.format is not None:
            changes["rows"] = self.rows.model_copy(update={"format": own.format})
        return self.model_copy(update=changes)

    @property
    def peak_rate(self) -> float:
        """The peak learning rate, chosen by the start where it is left out."""
        if self.optimizer.lr is not None:
            return self.optimizer.lr
        if self.has_adapter:
            return ADAPTER_RATE
        return NEW_RATE if self.model is None else PRETRAINED_RATE

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is trained, and not the model itself."""
        return self.adapter.type is not None

    @property
    def writes_adapter(self) -> bool:
        """Whether the result is an adapter, and no model."""
        return self.has_adapter and not self.adapter.merge

    @property
    def warmup_steps(self) -> int:
        """Steps of warm-up, chosen by the start where they are left out; once epochs are counted
        in steps."""
        if self.schedule.warmup_steps is not None:
            return self.schedule.warmup_steps
        if self.model is None:
            return 0
        return 100 if self.max_steps is None else min(100, math.ceil(self.max_steps / 10))


class TrainResult(Result):
    """What `tfcli train` says of the run. Losses are means over targets: nats a token where these
    are tokens."""

    schema_name: ClassVar[str] = "tfcli.train/2"

    steps: int = Field(description="Optimizer steps.")
    tokens: int = Field(description="Targets trained on, counting repeats.")
    unit: str = Field(
        "token", description="What a target is: a token, row, window or pair of answers."
    )
    epochs: float = Field(description="Times that the training data were seen.")
    parameters: int = Field(description="Weights of the model, with those of an adapter.")
    trainable: int | None = Field(
        None, description="Those of them that were trained; null in a record of before."
    )
    train_loss: float = Field(
        description="The mean training loss over the last tenth of the steps, at most 100."
    )
    validation_loss: float | None = Field(description="The validation loss at the last step.")
    metrics: dict[str, float] = Field(
        {}, description="What else was measured on the validation at the last step, by name."
    )
    best_validation_loss: float | None = Field(
        description="The validation loss where the validation was best: the lowest one, but where "
        "best_metric says it."
    )
    best_metrics: dict[str, float] = Field({}, description="The metrics of the same validation.")
    best_step: int | None = Field(description="The step after which the validation was best.")
    kept: Literal["last", "best"] = Field(description="The weights that were written.")
    tokens_per_second: float = Field(
        description="The median over the steps, all processes together."
    )
    seconds: float = Field(description="Time in the training loop, interrupted parts included.")
    learning_rate: float = Field(description="The peak rate that was used.")
    warmup_steps: int = Field(description="Steps from 0 up to the peak rate.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="The type of the weights that were written."
    )
    precision: Literal["float32", "bfloat16"] = Field(description="The type of the computation.")
    device: str = Field(description="Where the model was trained.")
    processes: int = Field(description="Processes that trained together.")
    resumed_from: int | None = Field(description="The step that an interrupted run went on from.")
    ended: str | None = Field(
        None, description="Why the run ended before its length; null where it did not."
    )

    @property
    def trained_part(self) -> int | None:
        """How many weights were trained, where these are not all."""
        whole = self.trainable is None or self.trainable == self.parameters
        return None if whole else self.trainable
