"""What `tfcli train` takes and what it says of the run."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tfcli.families import FamilyFile, has_run
from tfcli.models.errors import ModelError
from tfcli.recipe.marks import GIVEN, Also, Only
from tfcli.recipe.shared_keys import FLOATS, Device, LoadIn, Seed, TextField
from tfcli.recipe.spec import (
    DataRef,
    InputPath,
    ModelRef,
    OutputPath,
    Result,
    Spec,
    TokenizerPath,
)
from tfcli.train.adapter_spec import AdapterSection
from tfcli.train.data_spec import DataSource, RowsSection, SourceSection
from tfcli.train.measures.spec import MEASURED, GenerationSection, check_metrics
from tfcli.train.moving_spec import OptimizerSection, ScheduleSection
from tfcli.train.objectives.spec import (
    IN_ROWS,
    IN_TEXTS,
    LABELLED,
    PREFERENCES,
    WINDOWED,
    WITH_TEXT,
    WITHOUT_TEXT,
    BlanksSection,
    DistillationSection,
    FIMSection,
    KTOSection,
    MaskingSection,
    ObjectiveName,
    ProblemType,
    columns_of,
)
from tfcli.train.pace import Interval
from tfcli.train.strategies.spec import DeepSpeedSection, FSDPSection, TensorParallelSection
from tfcli.train.tracking_spec import EarlyStoppingSection, SamplesSection, TrackingSection

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
    scratch: ClassVar[tuple[str, ...]] = ("checkpoint-*", "best", "stopped-*", ".*.tmp")
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
    tokenizer: Annotated[TokenizerPath | None, Only(objective=WITH_TEXT)] = Field(
        None,
        description="A folder with a tokenizer, or a tokenizer.json; left out, the model's own.",
    )
    adapter: Annotated[AdapterSection, Only(model=GIVEN)] = AdapterSection()
    load_in: Annotated[LoadIn, Only(model=GIVEN)] = None
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
        "thinks of it (distillation), hidden tokens of texts (masked-lm) or parts that were cut "
        "out of them (glm), a text from another (seq2seq), labels of texts "
        "(sequence-classification), of their words (token-classification) or of pictures "
        "(image-classification), where a text answers a question (question-answering) or which of "
        "several does (multiple-choice), which texts belong together (contrastive), to prefer one "
        "answer to another (dpo, ipo, orpo, simpo), which answers are good (kto), or which of two "
        "is the better one (reward).",
    )
    data: DataRef | None = Field(
        None,
        description="Training data: texts (.txt, .md, .rst, or a column of .jsonl, .csv, "
        ".parquet), or rows with prompts, conversations or other columns (.jsonl, .json, .csv, "
        ".parquet, .arrow); a file or a folder of them, a folder of pictures for each label, or a "
        "data set on the hub.",
    )
    mixture: dict[str, SourceSection] = Field(
        {},
        description="Several sources in place of data, under names of yours, each with a weight.",
    )
    stream: bool = Field(
        False,
        description="Read data as training needs them, in place of all before it begins: for data "
        "larger than memory. Steps are given by max_steps then.",
    )
    stream_buffer: Annotated[int, Only(stream=(True,))] = Field(
        10_000,
        ge=1,
        description="Rows or documents of each source that are in memory at once: they are "
        "shuffled, and packed, among themselves.",
    )
    split: str = Field(
        "train",
        min_length=1,
        description="Which split of a folder or data set is trained on, where its files are of "
        "several.",
    )
    validation: DataRef | None = Field(
        None, description="Validation data, in the same forms; never trained on."
    )
    validation_split: Annotated[str, Only(validation=GIVEN)] = Field(
        "validation", min_length=1, description="Which split of the validation data is read."
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
    problem_type: Annotated[ProblemType | None, Only(objective=LABELLED)] = Field(
        None,
        description="What a label is: one of several, a list of several, or a number; left out, as "
        "the data have it.",
    )
    masking: Annotated[MaskingSection, Only(objective=("masked-lm",))] = MaskingSection()
    distillation: Annotated[DistillationSection, Only(objective=("distillation",))] = (
        DistillationSection()
    )
    fim: Annotated[FIMSection, Only(objective=CAUSAL)] = FIMSection()
    blanks: Annotated[BlanksSection, Only(objective=("glm",))] = BlanksSection()
    kto: Annotated[KTOSection, Only(objective=("kto",))] = KTOSection()
    sequence_length: Annotated[int, Also("window"), Only(objective=WITH_TEXT)] = Field(
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
    beta: Annotated[float | None, Only(objective=(*PREFERENCES, "kto"))] = Field(
        None,
        gt=0,
        description="The scale of the loss: of rewards (dpo, kto, simpo), of the distance that is "
        "aimed at (ipo), or of the odds ratio's share (orpo); left out, 0.1, and 2 for simpo.",
    )
    margin: Annotated[float, Only(objective=("simpo",))] = Field(
        1.0, ge=0, description="By how much the rewards of two answers are to differ."
    )
    temperature: Annotated[float, Only(objective=("contrastive",))] = Field(
        0.05, gt=0, description="What the products of two texts' vectors are divided by."
    )
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
    neftune_alpha: float | None = Field(
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
    validate_every: Annotated[Interval, Only(off=0, either=VALIDATION)] = Field(
        100,
        description="How often the validation loss is measured: steps, or a text such as "
        "'1 epoch', '10 minutes' or '5%' of the run; 0: at the end only.",
    )
    metrics: Annotated[list[str] | None, Only(objective=MEASURED, either=VALIDATION)] = Field(
        None,
        description="What is measured on the validation beside its loss, such as [accuracy, f1]; "
        "left out, the objective's usual ones, and [] for none. docs/objectives.md has those of "
        "each.",
    )
    generation: Annotated[GenerationSection, Only(objective=("seq2seq",))] = GenerationSection()
    checkpoint_every: Interval = Field(
        100,
        description="How often a checkpoint is written that a rerun goes on from, alike; 0: never.",
    )
    keep_checkpoints: int = Field(
        2, ge=1, description="Checkpoints that stay; older ones go once a newer one is whole."
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="The weights to keep: the last ones, or those of the best validation.",
    )
    best_metric: Annotated[str | None, Only(either=VALIDATION)] = Field(
        None,
        description="The metric that says which validation is the best one; left out, the loss.",
    )
    early_stopping: Annotated[EarlyStoppingSection, Only(either=VALIDATION)] = (
        EarlyStoppingSection()
    )
    samples: SamplesSection = SamplesSection()
    tracking: TrackingSection = TrackingSection()
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
        from tfcli.models.config import config_from_recipe, config_keys

        try:
            # The tokenizer gives a vocabulary that is left out; its size does not matter here.
            size = {"vocab_size": 2**31} if "vocab_size" in config_keys(config) else {}
            config_from_recipe({**size, **config})
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
        if self.load_in is not None and not self.has_adapter:
            raise ValueError("load_in: packed weights are trained by an adapter: give adapter")
        if self.has_adapter and (self.freeze or self.train_only):
            raise ValueError(
                "an adapter freezes the whole model: leave out freeze and train_only, and name "
                "what is trained beside it in adapter.modules_to_save"
            )
        through = self.adapter.type in ("prompt-tuning", "p-tuning")
        if through and self.strategy in ("fsdp", "zero3", "tp"):
            raise ValueError(
                f"adapter: {self.adapter.type} learns through what blocks keep of its tokens, for "
                f"which strategy: {self.strategy} does not gather weights: take strategy: ddp, or "
                "adapter: prefix-tuning"
            )
        if self.adapter.type == "adalora" and self.strategy not in (None, "single", "ddp"):
            raise ValueError(
                f"adapter: adalora looks at whole gradients, which strategy: {self.strategy} "
                "spreads: take strategy: ddp, or adapter: lora"
            )
        if self.adapter.has_virtual_tokens:
            for key, other in (
                ("rows.packing", self.rows.packing),
                ("activation_checkpointing", self.activation_checkpointing),
                ("compile", self.compile),
            ):
                if other:
                    raise ValueError(
                        f"{key} does not go with adapter: {self.adapter.type}, whose virtual "
                        "tokens lie in a cache before each row: leave it out"
                    )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.model is None) == (self.config is None):
            raise ValueError(
                "give exactly one of model (go on from a checkpoint) and config (a new model)"
            )
        if (self.data is None) == (not self.mixture):
            raise ValueError("give exactly one of data and mixture (several, each with a weight)")
        self._sources_fit()
        if self.fim.rate and self.bpe_dropout:
            raise ValueError("fim draws its parts anew, and bpe_dropout their tokens: give one")
        if self.objective == "distillation" and self.distillation.teacher is None:
            raise ValueError("distillation learns from a model: give distillation.teacher")
        if self.config is not None and self.tokenizer is None and self.objective in WITH_TEXT:
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
        check_metrics(self.objective, [*(self.metrics or ()), *filter(None, [self.best_metric])])
        if self.metrics is not None and self.best_metric not in (None, *self.metrics):
            raise ValueError(f"best_metric: {self.best_metric} is not among metrics: add it there")
        self._budget_fits()
        self._stream_fits()
        if self.max_steps is not None and self.epochs is not None:
            raise ValueError("give one of max_steps and epochs, not both")
        if self.max_steps is None and self.epochs is None and self.max_minutes is None:
            raise ValueError("give max_steps, epochs or max_minutes")
        if self.ema_decay is not None and self.strategy == "zero3":
            raise ValueError("ema_decay: zero3 alone has no weights to average: take zero2 or fsdp")
        if self.max_steps is not None and self.warmup_steps > self.max_steps:
            raise ValueError(
                f"schedule.warmup_steps ({self.warmup_steps}) is more than "
                f"max_steps ({self.max_steps})"
            )
        return self

    def _sources_fit(self) -> None:
        """Refuse keys of a source that its objective does not read."""
        read = {
            "text_field": self.objective in IN_TEXTS,
            "columns": self.objective in (*CAUSAL, *IN_ROWS),
            "format": self.objective in CAUSAL,
        }
        for name, source in self.mixture.items():
            for key, has_effect in read.items():
                if getattr(source, key) is not None and not has_effect:
                    raise ValueError(
                        f"mixture.{name}.{key} has no effect with objective: {self.objective}"
                    )
        for each in self.sources if self.objective in IN_ROWS else ():
            columns_of(self.objective, self.of(each).columns)

    def _stream_fits(self) -> None:
        """Refuse what needs all rows before the first step."""
        refused = {
            "epochs: how many rows there are": (self.epochs, "give max_steps"),
            "validation_share: which rows are held out": (
                self.validation_share,
                "give validation",
            ),
            "rows.group_by_length: what is of like length": (
                self.rows.group_by_length,
                "take rows.packing or batch_tokens",
            ),
            "bpe_dropout: all words": (self.bpe_dropout, "leave it out"),
        }
        for what, (value, fix) in refused.items():
            if self.stream and value:
                raise ValueError(f"{what} is not known of a stream: {fix}")

    def _budget_fits(self) -> None:
        if self.batch_tokens is None:
            return
        if self.objective in WITHOUT_TEXT:
            raise ValueError(f"batch_tokens: {self.objective} has no tokens: give batch_size")
        if self.objective in ("contrastive", "kto"):
            raise ValueError(
                f"batch_tokens: {self.objective} compares the rows of a batch: batch_size"
            )
        if self.rows.group_by_length:
            raise ValueError("rows.group_by_length has no effect with batch_tokens, which does it")
        if self.compile:
            raise ValueError("batch_tokens: batches differ in shape, and compile wants one")
        if self.batch_tokens < self.sequence_length:
            raise ValueError(
                f"batch_tokens ({self.batch_tokens}) holds no row of sequence_length "
                f"({self.sequence_length})"
            )

    @property
    def sources(self) -> list[DataSource]:
        """Where what is trained on comes from."""
        if self.data is not None:
            return [DataSource("data", self.data)]
        return [
            DataSource(f"mixture.{name}", each.path, each.weight)
            for name, each in self.mixture.items()
        ]

    def of(self, source: DataSource) -> Self:
        """The spec with what it says of one source in the place of what it says of all."""
        if source.key == "data":
            return self
        own = self.mixture[source.key.removeprefix("mixture.")]
        changes: dict[str, Any] = {"data": own.path, "mixture": {}}
        if own.split is not None:
            changes["split"] = own.split
        if own.text_field is not None:
            changes["text_field"] = own.text_field
        if own.columns is not None:
            changes["columns"] = own.columns
        if own.format is not None:
            changes["rows"] = self.rows.model_copy(update={"format": own.format})
        return self.model_copy(update=changes)

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
        """Steps of warm-up, chosen by the start where they are left out; once epochs are counted
        in steps."""
        if self.schedule.warmup_steps is not None:
            return self.schedule.warmup_steps
        if self.model is None:
            return 0
        return 100 if self.max_steps is None else min(100, math.ceil(self.max_steps / 10))


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
    metrics: dict[str, float] = Field(
        {}, description="What else was measured on the validation at the last step, by name."
    )
    best_validation_loss: float | None = Field(
        description="The validation loss where the validation was best: the lowest one, but where "
        "best_metric says it."
    )
    best_metrics: dict[str, float] = Field({}, description="The metrics of the same validation.")
    best_step: int | None = Field(description="The step after which the validation was best.")
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
    ended: str | None = Field(
        None, description="Why the run ended before its length; null where it did not."
    )

    @property
    def trained_part(self) -> int | None:
        """How many weights were trained, where these are not all."""
        whole = self.trainable is None or self.trainable == self.parameters
        return None if whole else self.trainable
