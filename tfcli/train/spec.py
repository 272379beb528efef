"""What `tfcli train` takes and what it says of the run."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tfcli.families import FamilyFile, has_run
from tfcli.models.errors import ModelError
from tfcli.recipe.marks import GIVEN, Also, Only
from tfcli.recipe.shared_keys import FLOATS, Device, Seed, TextField
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Section, Spec, TokenizerPath
from tfcli.train.objectives.spec import (
    IN_ROWS,
    IN_TEXTS,
    PREFERENCES,
    WINDOWED,
    DistillationSection,
    MaskingSection,
    ObjectiveName,
    ProblemType,
    columns_of,
)

NEW_RATE = 1e-3
PRETRAINED_RATE = 5e-5
HIGHEST_PRETRAINED_RATE = 2e-4
"""Whole models are finetuned below it; far above, one forgets what it knew in a few steps."""


class OptimizerSection(Section):
    """How weights move."""

    name: Literal["adamw", "adamw-8bit"] = Field(
        "adamw",
        description="The optimizer: adamw, or adamw-8bit (bitsandbytes), whose state takes a "
        "quarter of the memory.",
    )
    lr: float | None = Field(
        None,
        gt=0,
        description="The peak learning rate; left out, 1e-3 for a new model, and 5e-5 with model.",
    )
    betas: tuple[float, float] = Field(
        (0.9, 0.95), description="The decay of the running mean and of the running square."
    )
    eps: float = Field(1e-8, gt=0, description="What is added to the root of the running square.")
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
        "cosine", description="How the rate falls after the warm-up."
    )
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps from 0 up to the peak rate; left out, 0 for a new model, and with model "
        "a tenth of the steps, at most 100.",
    )
    final_ratio: Annotated[float, Only(name=("cosine", "linear"))] = Field(
        0.1, ge=0, le=1, description="Where cosine and linear end, as a share of the peak rate."
    )


class FSDPSection(Section):
    """What `strategy: fsdp` spreads over the processes."""

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


class TrainSpec(Spec):
    """Train a model, new or from a checkpoint."""

    verb: ClassVar[str] = "train"
    loads_first: ClassVar[bool] = True
    resumable: ClassVar[bool] = True
    scratch: ClassVar[tuple[str, ...]] = ("checkpoint-*", "best", ".*.tmp")
    distributed: ClassVar[bool] = True

    output: OutputPath = Field(
        description="The folder for the trained model and its metrics.jsonl."
    )
    model: ModelRef | None = Field(
        None,
        description="The checkpoint to go on from: a folder or file of any container, or a hub id.",
    )
    family_file: FamilyFile = None
    config: dict[str, Any] | None = Field(
        None, description="A new model: model_type and the other keys of its config.json."
    )
    tokenizer: TokenizerPath | None = Field(
        None,
        description="A folder with a tokenizer, or a tokenizer.json; left out, the model's own.",
    )
    objective: ObjectiveName = Field(
        "causal-lm",
        description="What is learned: the next token of texts (causal-lm), what another model "
        "thinks of it (distillation), hidden tokens of texts (masked-lm), a text from another "
        "(seq2seq), labels of texts (sequence-classification) or of their words "
        "(token-classification), where a text answers a question (question-answering) or which of "
        "several does (multiple-choice), which texts belong together (contrastive), to prefer one "
        "answer to another (dpo, ipo, orpo, simpo), or which is the better one (reward).",
    )
    data: InputPath = Field(
        description="Training data: .txt, .jsonl, .csv, .parquet, or a folder of them; rows of "
        "columns, as most objectives take them, are no .txt."
    )
    validation: InputPath | None = Field(
        None, description="Validation data, in the same forms; never trained on."
    )
    text_field: Annotated[TextField, Only(objective=IN_TEXTS)] = "text"
    columns: Annotated[dict[str, str], Only(objective=IN_ROWS)] = Field(
        {},
        description="What the objective takes of a row, and the column that has it, where that is "
        "called otherwise; docs/objectives.md has the names of each.",
    )
    problem_type: Annotated[ProblemType | None, Only(objective=("sequence-classification",))] = (
        Field(
            None,
            description="What a label is: one of several, a list of several, or a number; left "
            "out, as the data have it.",
        )
    )
    masking: Annotated[MaskingSection, Only(objective=("masked-lm",))] = MaskingSection()
    distillation: Annotated[DistillationSection, Only(objective=("distillation",))] = (
        DistillationSection()
    )
    sequence_length: Annotated[int, Also("window")] = Field(
        256, ge=1, description="Tokens of a training window; the most of a row."
    )
    target_length: Annotated[int | None, Only(objective=("seq2seq",))] = Field(
        None, ge=2, description="The most tokens of a target; left out, sequence_length."
    )
    source_prefix: Annotated[str, Only(objective=("seq2seq",))] = Field(
        "", description="A text that is put before every source, such as 'summarize: '."
    )
    label_smoothing: Annotated[float, Only(objective=("seq2seq",))] = Field(
        0.0,
        ge=0,
        lt=1,
        description="The share of each target's probability that is spread over all tokens while "
        "training.",
    )
    stride: Annotated[int, Only(objective=("question-answering",))] = Field(
        64,
        ge=0,
        description="Tokens of a long context that one window of it and the next have in common.",
    )
    beta: Annotated[float | None, Only(objective=PREFERENCES)] = Field(
        None,
        gt=0,
        description="The scale of the loss: of rewards (dpo, simpo), of the distance that is aimed "
        "at (ipo), or of the odds ratio's share (orpo); left out, 0.1, and 2 for simpo.",
    )
    margin: Annotated[float, Only(objective=("simpo",))] = Field(
        1.0, ge=0, description="By how much the rewards of two answers are to differ."
    )
    temperature: Annotated[float, Only(objective=("contrastive",))] = Field(
        0.05, gt=0, description="What the products of two texts' vectors are divided by."
    )
    batch_size: int = Field(
        8, ge=1, description="Windows or rows of a forward pass, in each process."
    )
    gradient_accumulation: int = Field(
        1,
        ge=1,
        description="Forward passes of a step; they count as one large batch.",
    )
    max_steps: int = Field(ge=1, description="Optimizer steps.")
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    clip_norm: float | None = Field(
        1.0, gt=0, description="Scale gradients down to this norm; null leaves them."
    )
    precision: Annotated[Literal["auto", "float32", "bfloat16"], FLOATS] = Field(
        "auto",
        description="The type of the computation (mixed precision: sums and weights stay float32); "
        "auto is bfloat16 where the processor has it in hardware.",
    )
    dtype: Annotated[Literal["float32", "bfloat16", "float16"] | None, FLOATS] = Field(
        None,
        description="The type of the weights that are written; left out, that of model's weights, "
        "and float32 for a new model. While training they are float32.",
    )
    seed: Seed = Field(
        0, description="The seed of new weights, of the order of the data and of dropout."
    )
    validate_every: Annotated[int, Only(off=0, validation=GIVEN)] = Field(
        100, ge=0, description="Steps between validations; 0: at the end only."
    )
    checkpoint_every: int = Field(
        100, ge=0, description="Steps between checkpoints that a rerun goes on from; 0: none."
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="The weights to keep: the last ones, or those with the best validation loss.",
    )
    bpe_dropout: Annotated[float, Only(off=0, objective=WINDOWED)] = Field(
        0.0,
        ge=0,
        lt=1,
        description="The share of BPE merges that is left out, drawn anew each epoch; 0.1 is "
        "usual.",
    )
    compile: bool = Field(False, description="Compile the model: a slow first step, faster ones.")
    activation_checkpointing: bool = Field(
        False, description="Recompute blocks in the backward pass: less memory, more time."
    )
    attention: Literal["sdpa", "eager", "flex"] = Field(
        "sdpa",
        description="How attention is computed: torch's fused kernels (sdpa), step by step (eager) "
        "or compiled (flex).",
    )
    strategy: Literal["single", "ddp", "fsdp"] | None = Field(
        None,
        description="How several processes share the work: ddp, each with the whole model and a "
        "share of the data; fsdp, each with a part of every weight too. Left out, ddp under a "
        "launcher such as torchrun, else single.",
    )
    fsdp: Annotated[FSDPSection, Only(strategy=("fsdp",))] = FSDPSection()
    device: Device = "auto"

    @field_validator("config")
    @classmethod
    def _config_is_known(
        cls, config: dict[str, Any] | None, info: ValidationInfo
    ) -> dict[str, Any] | None:
        # A family of the user's own is known once its file has run, which reading a spec does not
        # do: the work begins with the same check.
        family_file = info.data.get("family_file")
        if config is None or (family_file is not None and not has_run(family_file)):
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
        if self.objective in IN_ROWS:
            columns_of(self.objective, self.columns)
        if self.objective == "distillation" and self.distillation.teacher is None:
            raise ValueError("distillation learns from a model: give distillation.teacher")
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
    """What `tfcli train` says of the run. Losses are means over targets: nats a token where these
    are tokens."""

    schema_name: ClassVar[str] = "tfcli.train/2"

    steps: int = Field(description="Optimizer steps.")
    tokens: int = Field(description="Targets trained on, counting repeats.")
    unit: str = Field(
        "token", description="What a target is: a token, row, window or pair of answers."
    )
    epochs: float = Field(description="Times that the training data were seen.")
    parameters: int = Field(description="Trained weights.")
    train_loss: float = Field(
        description="The mean training loss over the last tenth of the steps, at most 100."
    )
    validation_loss: float | None = Field(description="The validation loss at the last step.")
    best_validation_loss: float | None = Field(description="The lowest validation loss of the run.")
    best_step: int | None = Field(description="The step after which the lowest loss was measured.")
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
