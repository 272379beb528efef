"""One figure of a model, with how certain it is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Measure(BaseModel):
    """One figure."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="What was measured; of several tasks, `task/name`.")
    value: float = Field(description="The figure.")
    unit: str = Field(description="What it counts: share, nats/token, bits/byte, ...")
    higher_is_better: bool | None = Field(
        description="Which way it is better; null where neither is."
    )
    n: int = Field(description="The samples that it was measured on.")
    standard_error: float | None = Field(
        None,
        description="The standard error of the value: of samples that share a cluster (a document, "
        "a passage with several questions) as one draw. null with fewer than two clusters.",
    )
    interval: tuple[float, float] | None = Field(
        None, description="The 95% confidence interval; null with fewer than two clusters."
    )
