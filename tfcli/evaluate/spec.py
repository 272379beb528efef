"""What `tfcli eval` takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tfcli.errors import hint
from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.tasks.named import SHIPPED, known_tasks
from tfcli.families import FamilyFile
from tfcli.recipe.marks import GIVEN, Also, Only
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, LoadIn, Seed, TextField
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Spec, TaskPath
from tfcli.train.strategies.spec import WeightsSection

ON_TEXT = ("perplexity", "masked-perplexity", "seq2seq-perplexity")
"""What is measured on a text of one's own."""
Bos = Literal["each", "first", "none"]
Export = Literal["lm-eval", "every-eval-ever"]
_NO_DATA = Only(data=(None,))
_WITH_DATA = Only(data=GIVEN)


class EvalSpec(Spec):
    """Measure a language model on a text or on tasks, or a model with a head on tasks."""

    verb: ClassVar[str] = "eval"
    loads_first: ClassVar[bool] = True
    distributed: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = ("model",)

    model: ModelRef = Field(
        description="The model: a folder or file of any container, or a hub id "
        "org/name[:file][@revision]."
    )
    data: InputPath | None = Field(
        None,
        description="The text: .txt, .jsonl, .csv, .parquet, or a folder (of splits: its test). A "
        "task has its own data.",
    )
    output: OutputPath | None = Field(
        None, description="The folder for the record of the result, and for the samples."
    )
    task: str = Field(
        "auto",
        min_length=1,
        description="What to measure. Of data: auto is what the model is for; perplexity, each "
        "token from those before it; masked-perplexity, from both sides, one in seven masked at a "
        "time; seq2seq-perplexity, the encoder reads the context, the decoder goes on. Without "
        "data: the name of a task that comes with tfcli, shipped for all of language models, or a "
        "task's file, as lm-evaluation-harness has them, or of labels, entities, answers, vectors, "
        "images or speech (docs/evaluate.md).",
    )
    task_file: TaskPath | None = Field(
        None, description="The file of a task, or of a group of them; --task FILE is the same."
    )
    harness: Annotated[str | None, _NO_DATA] = Field(
        None,
        min_length=1,
        description="Names of tasks that lm-evaluation-harness has, with commas between them: it "
        "asks, this model answers. Needs tfcli[harness], and runs code of the task.",
    )
    export: Annotated[list[Export], Only(off=[], output=GIVEN)] = Field(
        [],
        description="Also write the result as lm-evaluation-harness does (lm-eval.json) or in the "
        "schema of Every Eval Ever (every-eval-ever.json).",
    )
    shots: Annotated[int | None, Also("num_fewshot"), _NO_DATA] = Field(
        None,
        ge=0,
        description="Examples with their answers before each prompt; left out, as the task says.",
    )
    seed: Annotated[Seed, _NO_DATA] = Field(1234, description="What the examples are drawn with.")
    limit: Annotated[int | None, _NO_DATA] = Field(
        None, ge=1, description="Samples of each task, its first ones; left out, all."
    )
    chat: Annotated[bool, _NO_DATA] = Field(
        False, description="Put prompts into the model's chat template."
    )
    overlong: Annotated[Literal["refuse", "cut"], _NO_DATA] = Field(
        "refuse",
        description="What becomes of a prompt that is longer than the model takes: an error, or "
        "what it begins with is cut off.",
    )
    exact: bool = Field(
        False,
        description="Run each text alone, so that the bits of scores do not depend on the batch "
        "size; otherwise they agree within 1e-5.",
    )
    sequence_length: Annotated[int | None, Also("window")] = Field(
        None,
        ge=2,
        description="Tokens that the model sees at once; left out, all that it can take, at most "
        "2048.",
    )
    stride: int | None = Field(
        None, ge=1, description="Tokens from one window to the next; left out, half a window."
    )
    bos: Bos = Field(
        "each",
        description="Where the tokens stand that the tokenizer puts before a text, such as a BOS: "
        "before each window or prompt, as in training; before a document's first one; or nowhere. "
        "They count into a window's length and are not scored.",
    )
    batch_size: int = Field(
        8, ge=1, description="Texts of a forward pass; scores do not depend on it."
    )
    reference: Annotated[ModelRef | None, _WITH_DATA] = Field(
        None,
        description="Also measure how far next-token distributions are from this model's, which is "
        "loaded as it is stored.",
    )
    compression_baselines: Annotated[bool, Only(off=False, data=GIVEN)] = Field(
        False, description="Also compress the text with gzip and xz, for bits per byte to compare."
    )
    prime: Annotated[InputPath | None, Only(compression_baselines=(True,))] = Field(
        None, description="A text that xz gets to see beforehand, for free."
    )
    load_in: LoadIn = None
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    text_field: Annotated[TextField, _WITH_DATA] = "text"
    family_file: FamilyFile = None
    strategy: Annotated[Literal["fsdp", "zero3"] | None, _WITH_DATA] = Field(
        None,
        description="What each of several processes has of the model's blocks: a part, gathered "
        "while a block runs, by torch (fsdp) or DeepSpeed (zero3). Left out, all of it. Each "
        "scores a share of the windows.",
    )
    deepspeed: Annotated[WeightsSection, Only(strategy=("zero3",))] = WeightsSection()

    @property
    def window(self) -> int | None:
        """`sequence_length`, by the name that it has beside a stride."""
        return self.sequence_length

    @classmethod
    def as_keys(cls, data: Any) -> Any:
        """A task that is the path of a file is the key of such files."""
        data = super().as_keys(data)
        if not isinstance(data, dict) or data.get("task_file") is not None:
            return data
        task = data.get("task")
        if not isinstance(task, str) or not task.endswith((".yaml", ".yml")):
            return data
        return {**{key: value for key, value in data.items() if key != "task"}, "task_file": task}

    @property
    def on_text(self) -> bool:
        """Whether a text is measured, and no task."""
        return self.data is not None

    @model_validator(mode="after")
    def _names_what_to_measure(self) -> Self:
        if self.harness is not None:
            if self.task_file is not None or self.task != "auto":
                raise ValueError("harness says what is measured: leave out task")
        elif self.task_file is not None:
            if self.data is not None or self.task != "auto":
                other = "data" if self.data is not None else "task"
                raise ValueError(f"task_file says what is measured: leave out {other}")
        elif self.data is not None:
            if self.task not in ("auto", *ON_TEXT):
                known = self.task in (SHIPPED, *known_tasks())
                what = f"the task {self.task} has its own data" if known else ""
                raise ValueError(
                    what or f"data is measured by {hint(self.task, ('auto', *ON_TEXT))}"
                )
        elif self.task in ("auto", *ON_TEXT):
            raise ValueError("there is nothing to measure: name data, a task or one of the harness")
        elif self.task not in (SHIPPED, *known_tasks()):
            tasks = (SHIPPED, *known_tasks())
            raise ValueError(f"there is no task {self.task!r}: {hint(self.task, tasks)}")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride ({self.stride}) must not be above window ({self.window}): the tokens "
                f"between two windows would not be scored"
            )
        if self.strategy is not None and (self.load_in is not None or self.reference is not None):
            other = "load_in" if self.load_in is not None else "reference"
            raise ValueError(f"strategy spreads one dense model: leave out {other} or strategy")
        return self


class TaskResult(BaseModel):
    """What was measured on one task."""

    model_config = ConfigDict(frozen=True)

    task: str = Field(description="The task.")
    conditions: Conditions = Field(description="What its figures depend on.")
    measures: list[Measure] = Field(description="The figures.")
    available: int | None = Field(
        None, description="Samples that it has; more than were measured with a limit."
    )


class EvalResult(Result):
    """What `tfcli eval` measured, and the settings that the figures depend on."""

    schema_name: ClassVar[str] = "tfcli.eval/1"

    task: str = Field(description="What was measured. Figures of different tasks do not compare.")
    model: str = Field(description="The model.")
    conditions: Conditions = Field(
        description="All that the figures depend on besides the model. Of several tasks its hashes "
        "are over those of all."
    )
    measures: list[Measure] = Field(
        description="The figures, with how certain they are; of several tasks as `task/name`."
    )
    tasks: list[TaskResult] = Field(
        [], description="The figures of each task; empty where data was measured."
    )
    samples: int = Field(
        description="Samples that were measured: those of tasks, or the text's documents."
    )
    perplexity: float | None = Field(
        None,
        description='exp of the mean loss over the scored tokens; "Infinity" where no number holds '
        "it; null for tasks, as all figures of a text.",
    )
    bits_per_byte: float | None = Field(
        None, description="The summed loss in bits, over the scored bytes."
    )
    loss: float | None = Field(None, description="The mean negative log likelihood, nats a token.")
    tokens: int | None = Field(
        None, description="Scored tokens: those of the text that have a context."
    )
    unscored_tokens: int = Field(
        0, description="Tokens of the text with nothing before them in their window: not scored."
    )
    bytes: int | None = Field(
        None, description="UTF-8 bytes of the scored tokens: what bits_per_byte divides by."
    )
    documents: int | None = Field(None, description="Documents in the data.")
    window: int | None = Field(
        None, description="Tokens the model saw at once; null where no text was cut."
    )
    stride: int | None = Field(
        None,
        description="Tokens from one window to the next; no more than a window has beside a BOS.",
    )
    bos: Bos = Field(
        "first",
        description="Whether the tokenizer's prefix stood before each window, each document's "
        "first one, or none.",
    )
    bos_tokens: int = Field(
        description="Tokens of that prefix: what the tokenizer puts before a text; 0 for none."
    )
    first_token_scored: bool | None = Field(
        None,
        description="True with a BOS: the whole text is scored. False: the first token of each "
        "document is context only, and its bytes are not counted.",
    )
    load_in: str | None = Field(
        None, description="What its linear layers were quantized to at load; null for nothing."
    )
    dtype: str = Field(description="The type of the weights.")
    device: str = Field(description="Where the model ran.")
    data: str | None = Field(None, description="The data file; null for tasks.")
    data_sha256: str = Field(description="The hash of the data's content.")
    tokenizer_sha256: str | None = Field(
        description="The hash of what decides the token ids; null where the model reads no text."
    )
    reference: str | None = Field(None, description="The model that was compared with.")
    kl_divergence: float | None = Field(
        None,
        description="The mean KL(reference || model) of next-token distributions, nats a token.",
    )
    kl_divergence_median: float | None = Field(
        None, description="The median of the KL divergence over the scored tokens."
    )
    kl_divergence_p99: float | None = Field(
        None, description="The 99th percentile of the KL divergence over the scored tokens."
    )
    kl_divergence_p999: float | None = Field(
        None, description="The 99.9th percentile of the KL divergence over the scored tokens."
    )
    same_top_token: float | None = Field(
        None, description="Share of tokens where both models rank the same token first."
    )
    reference_perplexity: float | None = Field(
        None, description="The reference's perplexity on the same windows."
    )
    compression: dict[str, float] | None = Field(
        None, description="Bits per byte of gzip, xz, and xz_primed on the same text."
    )
    processes: int = Field(1, description="Processes that scored together.")
    seconds: float = Field(description="Time spent scoring.")
    tokens_per_second: float | None = Field(
        None, description="Scored tokens a second; null for tasks."
    )
