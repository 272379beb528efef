"""What `tfcli train` takes and what it says of the run."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tfcli.families import FamilyFile, has_run
from tfcli.models.errors import ModelError
from tfcli.recipe.marks import GIVEN, Also, Only
from tfcli.recipe.shared_keys import FLOATS, Device, Seed, TextField
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Spec, TokenizerPath
from tfcli.train.adapter_spec import AdapterSection
from tfcli.train.data_spec import RowsSection
from tfcli.train.moving_spec import OptimizerSection, ScheduleSection
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
from tfcli.train.strategies.spec import DeepSpeedSection, FSDPSection, TensorParallelSection

NEW_RATE = 1e-3
PRETRAINED_RATE = 5e-5
HIGHEST_PRETRAINED_RATE = 2e-4
"""Whole models are finetuned below it; far above, one forgets what it knew in a few steps."""
ADAPTER_RATE = 2e-4
HIGHEST_ADAPTER_RATE = 1e-3
"""The same of adapters, which begin at nothing and so bear more."""


CAUSAL: tuple[ObjectiveName, ...] = ("causal-lm",)
VALIDATION = ("validation", "validation_share")
"""The keys that say what is validated on."""


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
    adapter: Annotated[AdapterSection, Only(model=GIVEN)] = AdapterSection()
    train_only: list[str] = Field(
        default_factory=list,
        description="Regular expressions: parameters whose name has a match are trained, and no "
        "others, as `norm` or `lm_head`. Left out, all.",
    )
    freeze: list[str] = Field(
        default_factory=list,
        description="Regular expressions: parameters whose name has a match stay as they are, as "
        r"`embed_tokens` or `layers\.[0-3]\.`.",
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
        description="Training data: texts (.txt, .md, .rst, or a column of .jsonl, .csv, "
        ".parquet), or rows with prompts, conversations or other columns (.jsonl, .json, .csv, "
        ".parquet, .arrow); a file or a folder of them."
    )
    validation: InputPath | None = Field(
        None, description="Validation data, in the same forms; never trained on."
    )
    validation_share: Annotated[float | None, Only(objective=CAUSAL)] = Field(
        None,
        gt=0,
        lt=1,
        description="The share of the rows or documents of data that is held out for validation "
        "where none is given; equal ones stay together.",
    )
    text_field: Annotated[TextField, Only(objective=IN_TEXTS)] = "text"
    columns: Annotated[dict[str, str], Only(objective=(*CAUSAL, *IN_ROWS))] = Field(
        {},
        description="What the objective takes of a row, and the column that has it, where that is "
        "called otherwise, such as {prompt: question}; docs/objectives.md has the names of each.",
    )
    rows: Annotated[RowsSection, Only(objective=CAUSAL)] = RowsSection()
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
        256, ge=1, description="Tokens of a training window, or the most of a row."
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
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; or give epochs.")
    epochs: float | None = Field(
        None, gt=0, description="Times that all data is seen, in place of max_steps."
    )
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
        "and float32 for a new model and for an adapter. While training they are float32.",
    )
    seed: Seed = Field(
        0, description="The seed of new weights, of the order of the data and of dropout."
    )
    validate_every: Annotated[int, Only(off=0, either=VALIDATION)] = Field(
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

    @field_validator("train_only", "freeze")
    @classmethod
    def _patterns_are_regular_expressions(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _adapter_fits(self) -> Self:
        if self.has_adapter and (self.freeze or self.train_only):
            raise ValueError(
                "an adapter freezes the whole model: leave out freeze and train_only, and name "
                "what is trained beside it in adapter.modules_to_save"
            )
        if self.has_adapter and self.strategy not in (None, "single", "ddp"):
            raise ValueError("an adapter is not spread over processes: take strategy: ddp")
        return self

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
        if self.validation is not None and self.validation_share is not None:
            raise ValueError("give validation or validation_share, not both")
        if self.strategy_from is not None and self.strategy is not None:
            raise ValueError("give strategy or strategy_from, not both")
        if self.deepspeed.offload_weights is not None and self.strategy != "zero3":
            raise ValueError("deepspeed.offload_weights: zero3 alone spreads weights")
        if self.keep == "best" and self.validation is None and self.validation_share is None:
            raise ValueError(
                "keep: best compares validation losses: give validation or validation_share"
            )
        if (self.max_steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of max_steps and epochs")
        if self.max_steps is not None and self.warmup_steps > self.max_steps:
            raise ValueError(
                f"schedule.warmup_steps ({self.warmup_steps}) is more than "
                f"max_steps ({self.max_steps})"
            )
        return self

    @property
    def total_steps(self) -> int:
        """Optimizer steps, once they are known: those of epochs are counted with the data."""
        assert self.max_steps is not None, "in_steps gives a spec with steps"
        return self.max_steps

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
        """Steps of warm-up, chosen by the start where they are left out."""
        if self.schedule.warmup_steps is not None:
            return self.schedule.warmup_steps
        return 0 if self.model is None else min(100, math.ceil(self.total_steps / 10))


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

    @property
    def trained_part(self) -> int | None:
        """How many weights were trained, where these are not all."""
        whole = self.trainable is None or self.trainable == self.parameters
        return None if whole else self.trainable
