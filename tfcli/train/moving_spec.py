"""The keys of `tfcli train` that say how weights move: steps, the optimizer and its rate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tfcli.recipe.marks import Only
from tfcli.recipe.shared_keys import FLOATS, Seed
from tfcli.recipe.spec import Section
from tfcli.train.objectives.spec import WITH_TEXT

NEW_RATE = 1e-3
PRETRAINED_RATE = 5e-5
HIGHEST_PRETRAINED_RATE = 2e-4
"""Whole models are finetuned below it; far above, one forgets what it knew in a few steps."""
ADAPTER_RATE = 2e-4
HIGHEST_ADAPTER_RATE = 1e-3
"""The same of adapters, which begin at nothing and so bear more."""

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


class StepKeys(Section):
    """What a step is, how many there are and how each moves the weights."""

    batch_size: Annotated[int, Only(batch_tokens=(None,))] = Field(
        8, ge=1, description="Windows or rows of a forward pass, in each process."
    )
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="The most tokens of a forward pass, in each process, in place of batch_size; "
        "those that rows are filled up with count, and rows of like length go together.",
    )
    gradient_accumulation: int = Field(
        1,
        ge=1,
        description="Forward passes of a step; they count as one large batch.",
    )
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; or give epochs.")
    epochs: float | None = Field(
        None, gt=0, description="Times that all data is seen, in place of max_steps."
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="The most time in the training loop; the learning rate comes down with it. "
        "Alone, or beside max_steps or epochs, where the first end counts.",
    )
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    clip_norm: float | None = Field(
        1.0, gt=0, description="Scale gradients down to this norm; null leaves them."
    )
    spike_factor: float | None = Field(
        None,
        gt=1,
        description="Stop where the norm of the gradients is so many times the median of the last "
        "50 steps, before the weights move (under DeepSpeed after), and keep the step's data; left "
        "out, only at numbers that are not finite.",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Validate and write a running mean of the weights, of which so much stays at "
        "each step; 0.999 is usual. Left out, the weights themselves.",
    )
    neftune_alpha: Annotated[float | None, Only(objective=WITH_TEXT)] = Field(
        None,
        gt=0,
        description="Noise on the embeddings of tokens while training (NEFTune); 5 is usual.",
    )
    precision: Annotated[Literal["auto", "float32", "bfloat16"], FLOATS] = Field(
        "auto",
        description="The type of the computation (mixed precision: sums and weights stay float32); "
        "auto is bfloat16 where the processor has it in hardware.",
    )
    dtype: Annotated[Literal["float32", "bfloat16", "float16"] | None, FLOATS] = Field(
        None,
        description="The type of the weights that are written; left out, that of model's weights, "
        "and float32 for a new model and for an adapter. While training they are float32.",
    )
    seed: Seed = Field(
        0, description="The seed of new weights, of the order of the data and of dropout."
    )
