"""What `tfcli train` takes and what it says of the run."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tfcli.families import FamilyFile
from tfcli.models.errors import ModelError
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Section, Spec

NEW_RATE = 1e-3
PRETRAINED_RATE = 5e-5
HIGHEST_PRETRAINED_RATE = 2e-4
"""Whole models are finetuned below it; far above, one forgets what it knew in a few steps."""


class OptimizerSection(Section):
    """How weights move."""

    name: Literal["adamw", "adamw-8bit"] = Field(
        "adamw", description="adamw, or adamw-8bit, whose state takes a quarter (bitsandbytes)."
    )
    lr: float | None = Field(
        None,
        gt=0,
        description="Peak learning rate; left out, 1e-3 for a new model, and 5e-5 with model.",
    )
    betas: tuple[float, float] = Field(
        (0.9, 0.95), description="Decay of the running mean and of the running square."
    )
    eps: float = Field(1e-8, gt=0, description="Added to the root of the running square.")
    weight_decay: float = Field(
        0.1,
        ge=0,
        description="Decoupled weight decay, on matrices and tables only: no norms, no biases.",
    )

    @field_validator("betas")
    @classmethod
    def _betas_are_decays(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"both betas must be in [0, 1), not {list(betas)}")
        return betas


class ScheduleSection(Section):
    """How the learning rate moves."""

    name: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="The way down after the warm-up."
    )
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps from 0 up to the peak rate; left out, 0 for a new model, and with model "
        "a tenth of the steps, at most 100.",
    )
    final_ratio: float = Field(
        0.1, ge=0, le=1, description="Where cosine and linear end, as a share of the peak rate."
    )


class TrainSpec(Spec):
    """Train a causal language model, new or from a checkpoint."""

    verb: ClassVar[str] = "train"
    resumable: ClassVar[bool] = True

    output: OutputPath = Field(description="Folder for the trained model and its metrics.jsonl.")
    model: ModelRef | None = Field(
        None, description="Go on from this checkpoint: a folder or org/name[@revision]."
    )
    family_file: FamilyFile = None
    config: dict[str, Any] | None = Field(
        None, description="A new model: model_type and the keys of its config.json."
    )
    tokenizer: InputPath | None = Field(
        None, description="Folder or tokenizer.json; left out, the model's own."
    )
    data: InputPath = Field(
        description="Training text: .txt, .jsonl, .csv, .parquet, or a folder of them."
    )
    validation: InputPath | None = Field(
        None, description="Validation text, in the same forms; never trained on."
    )
    text_field: str = Field(
        "text", min_length=1, description="The key or column of the text in .jsonl, .csv, .parquet."
    )
    sequence_length: int = Field(256, ge=1, description="Tokens that a training window predicts.")
    batch_size: int = Field(8, ge=1, description="Windows a forward pass, per process.")
    gradient_accumulation: int = Field(
        1,
        ge=1,
        description="Forward passes a step; they count as one large batch.",
    )
    max_steps: int = Field(ge=1, description="Optimizer steps.")
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    clip_norm: float | None = Field(
        1.0, gt=0, description="Scale gradients down to this norm; null leaves them."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Of the computation; auto is bf16 where the processor has it."
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None,
        description="Of the weights that are written; left out, that of model's weights, and "
        "float32 for a new model. Training keeps float32.",
    )
    seed: int = Field(0, ge=0, description="Of new weights, of the order of data and of dropout.")
    validate_every: int = Field(
        100, ge=0, description="Steps between validations; 0: at the end only."
    )
    checkpoint_every: int = Field(
        100, ge=0, description="Steps between checkpoints that a rerun goes on from; 0: none."
    )
    keep: Literal["last", "best"] = Field(
        "last", description="The weights to keep: the last, or those of the best validation loss."
    )
    bpe_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of BPE merges left out, anew each epoch; 0.1 is usual."
    )
    compile: bool = Field(False, description="Compile the model: a slow first step, faster ones.")
    activation_checkpointing: bool = Field(
        False, description="Recompute blocks in the backward pass: less memory, more time."
    )
    attention: Literal["sdpa", "eager", "flex"] = Field("sdpa", description="Attention backend.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to train; auto is cuda where there is one."
    )

    @field_validator("config")
    @classmethod
    def _config_is_known(
        cls, config: dict[str, Any] | None, info: ValidationInfo
    ) -> dict[str, Any] | None:
        # A family of the user's own is known once its file has run, which reading a spec does not
        # do: the work begins with the same check.
        if config is None or info.data.get("family_file") is not None:
            return config
        from tfcli.models.config import config_from_recipe

        try:
            # The tokenizer gives a vocabulary that is left out; its size does not matter here.
            config_from_recipe({"vocab_size": 2**31, **config})
        except ModelError as error:
            text = f"{error.where}: {error.what}" if error.where else error.what
            raise ValueError(f"{text} ({error.fix})" if error.fix else text) from error
        return config

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.model is None) == (self.config is None):
            raise ValueError(
                "give exactly one of model (go on from a checkpoint) and config (a new model)"
            )
        if self.config is not None and self.tokenizer is None:
            raise ValueError("a new model needs a tokenizer: give tokenizer")
        if self.keep == "best" and self.validation is None:
            raise ValueError("keep: best compares validation losses: give validation")
        if self.warmup_steps > self.max_steps:
            raise ValueError(
                f"schedule.warmup_steps ({self.warmup_steps}) is more than "
                f"max_steps ({self.max_steps})"
            )
        return self

    @property
    def peak_rate(self) -> float:
        """The peak learning rate, chosen by the start where it is left out."""
        if self.optimizer.lr is not None:
            return self.optimizer.lr
        return NEW_RATE if self.model is None else PRETRAINED_RATE

    @property
    def warmup_steps(self) -> int:
        """Steps of warm-up, chosen by the start where they are left out."""
        if self.schedule.warmup_steps is not None:
            return self.schedule.warmup_steps
        return 0 if self.model is None else min(100, math.ceil(self.max_steps / 10))


class TrainResult(Result):
    """What `tfcli train` says of the run. Losses are nats a token."""

    schema_name: ClassVar[str] = "tfcli.train/1"

    steps: int = Field(description="Optimizer steps.")
    tokens: int = Field(description="Targets trained on, counting repeats.")
    epochs: float = Field(description="Times that the training text was seen.")
    parameters: int = Field(description="Trained weights.")
    train_loss: float = Field(description="Mean over the last tenth of the steps, at most 100.")
    validation_loss: float | None = Field(description="At the last step.")
    best_validation_loss: float | None = Field(description="The lowest of the run.")
    best_step: int | None = Field(description="The step that it was measured after.")
    kept: Literal["last", "best"] = Field(description="The weights that were written.")
    tokens_per_second: float = Field(description="Median over the steps, all processes together.")
    seconds: float = Field(description="In the training loop, interrupted parts included.")
    learning_rate: float = Field(description="The peak rate that was used.")
    warmup_steps: int = Field(description="Steps from 0 up to it.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Of the weights that were written."
    )
    precision: Literal["fp32", "bf16"] = Field(description="Of the computation.")
    device: str = Field(description="Where the model was trained.")
    processes: int = Field(description="Processes that trained together.")
    resumed_from: int | None = Field(description="The step that an interrupted run went on from.")
