"""What `tfcli eval` takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfcli.families import FamilyFile
from tfcli.recipe.marks import Also, Only
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, LoadIn, TextField
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Spec
from tfcli.train.strategies.spec import WeightsSection


class EvalSpec(Spec):
    """Measure a language model on a text: causal, masked or encoder-decoder."""

    verb: ClassVar[str] = "eval"
    loads_first: ClassVar[bool] = True
    distributed: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = ("model",)

    model: ModelRef = Field(
        description="The model: a folder or file of any container, or a hub id "
        "org/name[:file][@revision]."
    )
    data: InputPath = Field(
        description="The text: .txt, .jsonl, .csv, .parquet, or a folder (of splits: its test)."
    )
    output: OutputPath | None = Field(None, description="The folder for the record of the result.")
    task: Literal["auto", "perplexity", "masked-perplexity", "seq2seq-perplexity"] = Field(
        "auto",
        description="What to measure; auto is what the model is for. perplexity: each token from "
        "those before it. masked-perplexity: from both sides, one in seven masked at a time. "
        "seq2seq-perplexity: the encoder reads the context, the decoder goes on.",
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
    bos: Literal["each", "first", "none"] = Field(
        "each",
        description="Where the tokens stand that the tokenizer puts before a text, such as a BOS: "
        "before each window, as in training; before a document's first one; or nowhere. They count "
        "into a window's length and are not scored.",
    )
    batch_size: int = Field(
        8, ge=1, description="Windows of a forward pass; scores do not depend on it."
    )
    reference: ModelRef | None = Field(
        None,
        description="Also measure how far next-token distributions are from this model's, which is "
        "loaded as it is stored.",
    )
    compression_baselines: bool = Field(
        False, description="Also compress the text with gzip and xz, for bits per byte to compare."
    )
    prime: Annotated[InputPath | None, Only(compression_baselines=(True,))] = Field(
        None, description="A text that xz gets to see beforehand, for free."
    )
    load_in: LoadIn = None
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    text_field: TextField = "text"
    family_file: FamilyFile = None
    strategy: Literal["fsdp", "zero3"] | None = Field(
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


class EvalResult(Result):
    """What `tfcli eval` measured, and the settings that the figures depend on."""

    schema_name: ClassVar[str] = "tfcli.eval/1"

    task: Literal["perplexity", "masked-perplexity", "seq2seq-perplexity"] = Field(
        description="What was measured. Figures of different tasks do not compare."
    )
    model: str = Field(description="The model.")
    perplexity: float = Field(
        description='exp of the mean loss over the scored tokens; "Infinity" where no number holds '
        "it."
    )
    bits_per_byte: float = Field(description="The summed loss in bits, over the scored bytes.")
    loss: float = Field(description="The mean negative log likelihood, nats a token.")
    tokens: int = Field(description="Scored tokens: those of the text that have a context.")
    unscored_tokens: int = Field(
        0, description="Tokens of the text with nothing before them in their window: not scored."
    )
    bytes: int = Field(
        description="UTF-8 bytes of the scored tokens: what bits_per_byte divides by."
    )
    documents: int = Field(description="Documents in the data.")
    window: int = Field(description="Tokens the model saw at once.")
    stride: int = Field(
        description="Tokens from one window to the next; no more than a window has beside a BOS."
    )
    bos: Literal["each", "first", "none"] = Field(
        "first",
        description="Whether the tokenizer's prefix stood before each window, each document's "
        "first one, or none.",
    )
    bos_tokens: int = Field(
        description="Tokens of that prefix: what the tokenizer puts before a text; 0 for none."
    )
    first_token_scored: bool = Field(
        description="True with a BOS: the whole text is scored. False: the first token of each "
        "document is context only, and its bytes are not counted."
    )
    load_in: str | None = Field(
        None, description="What its linear layers were quantized to at load; null for nothing."
    )
    dtype: str = Field(description="The type of the weights.")
    device: str = Field(description="Where the model ran.")
    data: str = Field(description="The data file.")
    data_sha256: str = Field(description="The hash of the data's content.")
    tokenizer_sha256: str = Field(description="The hash of what decides the token ids.")
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
    tokens_per_second: float = Field(description="Scored tokens a second.")
