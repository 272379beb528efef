"""The options and the result of `tfcli average`."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from tfcli.families import FamilyFile
from tfcli.recipe.marks import Also
from tfcli.recipe.shared_keys import LARGEST_FILE, Size, StoredDtype
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec


class AverageSpec(Spec):
    """Average the weights of checkpoints of one architecture."""

    verb: ClassVar[str] = "average"
    positional: ClassVar[tuple[str, ...]] = ("sources", "output")

    sources: Annotated[list[ModelRef], Also("models")] = Field(
        min_length=2,
        description="The checkpoints: folders or files of any container, or hub ids. Config and "
        "tokenizer are taken from the first.",
    )
    output: OutputPath = Field(description="The folder to write.")
    weights: list[float] | str | None = Field(
        None,
        description="How much each checkpoint counts, such as 0.7,0.3; the numbers are divided by "
        "their sum. Without it all count alike.",
    )
    method: Literal["linear", "slerp"] = Field(
        "linear",
        description="linear takes the weighted mean. slerp goes along the arc between two "
        "checkpoints, tensor by tensor, which keeps the length of the weights.",
    )
    dtype: StoredDtype = Field(
        None,
        description="The type of the result's weights. Without it each tensor has the type that it "
        "has in the first checkpoint.",
    )
    shard_size: Size = Field("5GB", description=LARGEST_FILE)
    family_file: FamilyFile = None

    @field_validator("weights", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return [float(part) for part in value.replace(",", " ").split()]
        except ValueError:
            raise ValueError(f"{value!r} is no list of numbers such as 0.7,0.3") from None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.method == "slerp" and len(self.sources) != 2:
            raise ValueError(f"slerp goes between two checkpoints, not {len(self.sources)}")
        if self.weights is None:
            return self
        weights = [float(weight) for weight in self.weights]
        if len(weights) != len(self.sources):
            raise ValueError(
                f"{len(weights)} weights for {len(self.sources)} checkpoints; separate them with "
                "commas: --weights 0.7,0.3"
            )
        if not all(map(math.isfinite, weights)) or abs(sum(weights)) < 1e-6:
            raise ValueError("weights must be numbers whose sum is not zero")
        if self.method == "slerp" and min(weights) < 0:
            raise ValueError("slerp takes no negative weights")
        return self

    @property
    def shares(self) -> list[float]:
        """What each checkpoint counts; the sum is 1."""
        weights = [float(weight) for weight in self.weights or [1.0] * len(self.sources)]
        return [weight / sum(weights) for weight in weights]


class AveragedTensor(BaseModel):
    """What became of one tensor."""

    name: str = Field(description="The tensor's name.")
    action: Literal["averaged", "copied"] = Field(
        description="`averaged`, or `copied`: it is no floating-point tensor, and equal in all "
        "sources."
    )
    dtype: str = Field(
        description="The tensor's type in what was written, as safetensors spells it."
    )
    angle: float | None = Field(description="Degrees between the two sources; null for linear.")


class AverageResult(Result):
    """What `tfcli average` wrote."""

    schema_name: ClassVar[str] = "tfcli.average/1"

    method: str = Field(description="`linear` or `slerp`.")
    shares: list[float] = Field(description="What each source counted; the sum is 1.")
    files: list[str] = Field(description="The weight files, in order.")
    bytes: int = Field(description="Bytes of the written tensors.")
    averaged: int = Field(description="How many tensors were averaged.")
    copied: int = Field(description="How many tensors are no floats and equal in all sources.")
    tied: list[str] = Field(description="Stored tensors left out: equal to their tied partner.")
    verified: int = Field(
        description="How many tensors were read back and compared with a second pass."
    )
    companions: list[str] = Field(description="The tokenizer and other files of the first source.")
    tensors: list[AveragedTensor] = Field(description="What became of each tensor.")
