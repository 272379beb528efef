"""What `tfcli benchmark` takes and gives."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from tfcli.families import FamilyFile
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, LoadIn
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec


class BenchmarkSpec(Spec):
    """Time loading, prefill and decoding, and measure the memory, of one or more models."""

    verb: ClassVar[str] = "benchmark"
    loads_first: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = ("models",)

    models: list[ModelRef] = Field(
        min_length=1,
        description="The models, one or more: folders or files of any container, or hub ids.",
    )
    output: OutputPath | None = Field(None, description="The folder for the record of the result.")
    prompt_tokens: int | None = Field(
        None, ge=1, description="Tokens of the prompt; left out, 512 or what the models can take."
    )
    new_tokens: int = Field(32, ge=2, description="Tokens to decode after the prompt.")
    repeats: int = Field(3, ge=1, description="Measurements of each model; medians are reported.")
    threads: int | None = Field(
        None, ge=1, description="Threads of the processor; left out, torch chooses."
    )
    load_in: LoadIn = None
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    family_file: FamilyFile = None


class BenchmarkRow(BaseModel):
    """One model, measured in a process of its own."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(description="The model.")
    weight_bytes: int = Field(
        description="Bytes of its tensors, as they are stored or as load_in makes them."
    )
    load_in: str | None = Field(
        None, description="What its linear layers were quantized to at load; null for nothing."
    )
    dtype: str = Field(description="The type of the weights that are not quantized.")
    unpacked: bool = Field(
        False,
        description="Whether its packed weights were unpacked at load, since no kernel runs them.",
    )
    load_seconds: float = Field(
        description="Time from the folder to a model that can be called; the median."
    )
    first_token_seconds: float = Field(
        description="Time from the folder to the first token after the prompt, in a new process, "
        "measured once."
    )
    prefill_tokens_per_second: float = Field(description="Prompt tokens a second; the median.")
    decode_tokens_per_second: float = Field(
        description="New tokens a second, one by one; the median."
    )
    peak_memory_bytes: int = Field(
        description="Most memory that the process held, with the libraries and the weights."
    )
    private_memory_bytes: int | None = Field(
        description="The part of this that no file backs, after the work; null where the system "
        "does not say."
    )
    device_memory_bytes: int | None = Field(
        description="Most memory of the accelerator; null on the CPU."
    )


class BenchmarkResult(Result):
    """What `tfcli benchmark` measured, with what the figures depend on."""

    schema_name: ClassVar[str] = "tfcli.benchmark/1"

    rows: list[BenchmarkRow] = Field(description="A row for each model, in the order given.")
    prompt_tokens: int = Field(description="Tokens of the prompt.")
    new_tokens: int = Field(description="Tokens decoded after it.")
    repeats: int = Field(description="Measurements of each model, after one that warms up.")
    threads: int = Field(description="Processor threads.")
    device: str = Field(description="Where the models ran.")
