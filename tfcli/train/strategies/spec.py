"""The keys of `tfcli train` that belong to one strategy; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tfcli.recipe.marks import Only
from tfcli.recipe.spec import InputPath, Section


class FSDPSection(Section):
    """What `strategy: fsdp` spreads over the processes, and `tp` over its groups."""

    shard: Literal["full", "grad-op", "none"] = Field(
        "full",
        description="What each process has a part of: weights, gradients and optimizer state "
        "(full); the same, but weights stay whole from the forward to the backward pass (grad-op); "
        "nothing, each has all of it (none).",
    )
    group_size: Annotated[int | None, Only(shard=("full", "grad-op"))] = Field(
        None,
        ge=2,
        description="Processes that hold one copy of the model together, such as those of one "
        "machine; the groups have copies (hybrid sharding). Left out, all.",
    )
    min_parameters: int | None = Field(
        None,
        ge=1,
        description="Gather modules of this many weights or more by themselves; left out, each "
        "block.",
    )
    gather_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="The type in which weights are gathered, and computed with; gradients are "
        "summed in float32.",
    )
    cpu_offload: bool = Field(
        False, description="Keep parts of weights and optimizer state on the CPU between uses."
    )


class TensorParallelSection(Section):
    """How `strategy: tp` shares the blocks."""

    size: int = Field(
        2,
        ge=2,
        description="Processes that share the heads and rows of every block, such as those of one "
        "machine; there are as many groups as the processes make up, and fsdp says what these "
        "spread.",
    )


Place = Literal["cpu", "nvme"]


class WeightsSection(Section):
    """Where DeepSpeed keeps weights that it spreads."""

    offload_weights: Place | None = Field(
        None,
        description="Keep weights on the CPU or in files between uses; zero3 alone spreads them.",
    )
    nvme_path: str | None = Field(None, description="The folder of files, for nvme.")

    def places(self) -> tuple[Place | None, ...]:
        """Where things are kept."""
        return (self.offload_weights,)

    @model_validator(mode="after")
    def _files_have_a_folder(self) -> Self:
        if "nvme" in self.places() and self.nvme_path is None:
            raise ValueError("nvme is a folder of files: give deepspeed.nvme_path")
        if self.nvme_path is not None and "nvme" not in self.places():
            raise ValueError(
                "deepspeed.nvme_path has no effect where nothing is kept there: ask for nvme"
            )
        return self


class DeepSpeedSection(WeightsSection):
    """Where `strategy: zero1`, `zero2` and `zero3` keep what they spread."""

    config: InputPath | None = Field(
        None,
        description="A config of DeepSpeed's own, JSON; what the recipe says stays the recipe's.",
    )
    offload_optimizer: Place | None = Field(
        None, description="Keep the optimizer's state on the CPU or in files."
    )

    def places(self) -> tuple[Place | None, ...]:
        """See `WeightsSection.places`."""
        return self.offload_weights, self.offload_optimizer
