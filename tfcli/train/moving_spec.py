"""The keys of `tfcli train` that say how weights move: the optimizer and its rate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tfcli.recipe.marks import Only
from tfcli.recipe.spec import Section

OptimizerName = Literal[
    "adamw",
    "adamw-8bit",
    "adamw-8bit-paged",
    "adafactor",
    "adam-mini",
    "apollo",
    "apollo-mini",
    "lion",
    "muon",
    "sgd",
]
OF_SQUARES = (
    "adamw",
    "adamw-8bit",
    "adamw-8bit-paged",
    "adam-mini",
    "apollo",
    "apollo-mini",
    "muon",
)
OF_BETAS = (*OF_SQUARES, "lion")


class OptimizerSection(Section):
    """How weights move."""

    name: OptimizerName = Field(
        "adamw",
        description="The optimizer: adamw; adamw-8bit (bitsandbytes), whose state takes a quarter "
        "of the memory, and adamw-8bit-paged, whose state moves to the CPU where a CUDA device is "
        "full; adafactor, whose state is a row and a column of each matrix; adam-mini, with one "
        "running square a head, row or norm; apollo and apollo-mini, whose state is that of a "
        "random projection of each gradient; lion, with one mean; "
        "muon, which makes the steps of linears' matrices orthogonal, and is adamw for the rest; "
        "sgd.",
    )
    lr: float | None = Field(
        None,
        gt=0,
        description="The peak learning rate; left out, 1e-3 for a new model, 5e-5 with model, and "
        "2e-4 for an adapter.",
    )
    betas: Annotated[tuple[float, float], Only(name=OF_BETAS)] = Field(
        (0.9, 0.95), description="The decay of the running mean and of the running square."
    )
    eps: Annotated[float, Only(name=OF_SQUARES)] = Field(
        1e-8, gt=0, description="What is added to the root of the running square."
    )
    momentum: Annotated[float, Only(name=("muon", "sgd"))] = Field(
        0.95, ge=0, lt=1, description="The decay of the running sum of gradients."
    )
    rank: Annotated[int, Only(name=("apollo",))] = Field(
        256, ge=1, description="The rank of the projections."
    )
    weight_decay: float = Field(
        0.1,
        ge=0,
        description="Weight decay, decoupled from the gradient but for sgd, on matrices and tables "
        "only: no norms, no biases.",
    )

    @field_validator("betas")
    @classmethod
    def _betas_are_decays(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"both betas must be in [0, 1), not {list(betas)}")
        return betas


class ScheduleSection(Section):
    """How the learning rate moves."""

    name: Literal["cosine", "linear", "constant", "wsd", "inverse-sqrt", "polynomial"] = Field(
        "cosine",
        description="How the rate falls after the warm-up. wsd stays at the peak and falls in a "
        "straight line at the end; inverse-sqrt falls with the root of the steps.",
    )
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps from 0 up to the peak rate; left out, 0 for a new model, and with model "
        "a tenth of the steps, at most 100.",
    )
    final_ratio: Annotated[float, Only(name=("cosine", "linear", "wsd", "polynomial"))] = Field(
        0.1, ge=0, le=1, description="Where the rate ends, as a share of the peak rate."
    )
    decay_share: Annotated[float, Only(name=("wsd",))] = Field(
        0.1, gt=0, le=1, description="The share of all steps in which wsd falls."
    )
    power: Annotated[float, Only(name=("polynomial",))] = Field(
        2.0, gt=0, description="The power of what is left of the way; 1 is linear."
    )
