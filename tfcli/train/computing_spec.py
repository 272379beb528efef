"""The keys of `tfcli train` that say how a step is computed, and by how many processes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfcli.recipe.marks import Only
from tfcli.recipe.shared_keys import Device
from tfcli.recipe.spec import InputPath, Section
from tfcli.train.strategies.spec import DeepSpeedSection, FSDPSection, TensorParallelSection


class ComputingKeys(Section):
    """How the step is computed, whatever is learned."""

    compile: bool = Field(False, description="Compile the model: a slow first step, faster ones.")
    activation_checkpointing: bool = Field(
        False, description="Recompute blocks in the backward pass: less memory, more time."
    )
    attention: Literal["sdpa", "eager", "flex"] = Field(
        "sdpa",
        description="How attention is computed: torch's fused kernels (sdpa), step by step (eager) "
        "or compiled (flex).",
    )
    strategy: Literal["single", "ddp", "fsdp", "zero1", "zero2", "zero3", "tp"] | None = Field(
        None,
        description="How several processes share the work: ddp, each with the whole model and a "
        "share of the data; fsdp, each with a part of every weight too; zero1, zero2 and zero3, "
        "DeepSpeed's, each with a part of the optimizer's state, of gradients too, of weights too; "
        "tp, groups that share the heads of every block, and fsdp between them. "
        "Left out, ddp under a launcher such as torchrun, else single.",
    )
    strategy_from: InputPath | None = Field(
        None,
        description="A config file of accelerate that says how, in place of strategy and its "
        "sections, precision and device.",
    )
    fsdp: Annotated[FSDPSection, Only(strategy=("fsdp", "tp"))] = FSDPSection()
    tp: Annotated[TensorParallelSection, Only(strategy=("tp",))] = TensorParallelSection()
    deepspeed: Annotated[DeepSpeedSection, Only(strategy=("zero1", "zero2", "zero3"))] = (
        DeepSpeedSection()
    )
    device: Device = "auto"
