"""What `tfcli estimate` says."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from tfcli.recipe.spec import Result


class EstimatePart(BaseModel):
    """One part of the memory."""

    name: str = Field(
        description="`weights`, `frozen` (a model that is compared with), `gradients`, "
        "`optimizer`, `activations`, `logits`, `cache` (keys and values), `buffers` (of the "
        "strategy or the solver), `allocator` (holes in the heap) or `runtime` (the program and "
        "its libraries)."
    )
    bytes: int = Field(description="Bytes of it, in each process, when most is held.")


class EstimateChange(BaseModel):
    """Keys of the recipe under which it would take less."""

    keys: dict[str, str | int | bool] = Field(description="Keys and their new values.")
    processes: int = Field(description="Processes in all, with these.")
    bytes: int = Field(description="What it takes then, in each process.")
    fits: bool = Field(description="Whether that is within the memory that was given.")


class EstimateResult(Result):
    """What a step takes in each process. Tensors are counted, not measured."""

    schema_name: ClassVar[str] = "tfcli.estimate/1"

    what: str = Field(description="The command whose memory it is, such as `train`.")
    model: str | None = Field(description="The model, or null for a new one.")
    device: Literal["cpu", "cuda"] = Field(description="Where it is counted for.")
    strategy: str | None = Field(description="Of a training; null for other commands.")
    processes: int = Field(description="Processes together.")
    parameters: int = Field(description="Weights of the whole model, with those of an adapter.")
    trainable: int | None = Field(description="Those that are trained; null for other commands.")
    precision: str | None = Field(
        description="The type of a training's computation; null for other commands."
    )
    parts: list[EstimatePart] = Field(description="The parts, in each process.")
    bytes: int = Field(description="All parts together, in each process.")
    memory: int | None = Field(description="The memory that was given, of one process, or null.")
    fits: bool | None = Field(description="Whether that is enough; null where no memory was given.")
    changes: list[EstimateChange] = Field(
        description="Where it is not enough: changes that are made one after the other, up to one "
        "that fits."
    )
    notes: list[str] = Field(description="What the figures do not hold.")
