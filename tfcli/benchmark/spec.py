"""What `tfcli benchmark` takes."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tfcli.benchmark.result import BenchmarkResult
from tfcli.families import FamilyFile
from tfcli.recipe.marks import GIVEN, Also, Only, Placeholder
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, LoadIn
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Spec

__all__ = ["BenchmarkResult", "BenchmarkSpec"]

CaseName = Literal["import", "load", "start", "first-token", "prefill", "decode", "train"]
CASES: tuple[CaseName, ...] = get_args(CaseName)
OF_A_TEXT: tuple[CaseName, ...] = ("start", "first-token", "prefill", "decode", "train")
"""Cases that have a batch and a length."""
CACHED: tuple[CaseName, ...] = ("start", "first-token", "prefill", "decode")
"""Cases that keep keys and values."""
CacheName = Literal["dynamic", "static", "quantized8", "quantized4", "offloaded"]
Peer = Literal["transformers", "llama.cpp"]

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%?", re.ASCII)


def _several(value: Any) -> Any:
    """One value in place of a list of it, as recipes and flags may have it."""
    return value if isinstance(value, list | tuple) else [value]


def _no_repeats(values: list[Any]) -> list[Any]:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} stands there twice")
    return values


def percent(text: str) -> float:
    """`5%` or `5` -> 0.05.

    Raises:
        ValueError: it is neither.
    """
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no percentage: write 5%")
    return float(found[1]) / 100


def _is_percent(value: str) -> str:
    percent(value)
    return value


Positive = Annotated[int, Field(ge=1)]
Checks = AfterValidator(_no_repeats)


class BenchmarkSpec(Spec):
    """Time and weigh models over batches, lengths and caches, beside the machine's own limits."""

    verb: ClassVar[str] = "benchmark"
    loads_first: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = ("models",)

    models: list[ModelRef] = Field(
        min_length=1,
        description="The models, one or more: folders or files of any container, or hub ids.",
    )
    output: OutputPath | None = Field(
        None,
        description="The folder for benchmark.json, benchmark.csv, benchmark.md and plots along "
        "batch and length (.svg).",
    )
    case: Annotated[list[CaseName], BeforeValidator(_several), Checks] = Field(
        ["import", "load", "first-token", "prefill", "decode"],
        min_length=1,
        description="What is measured. Can be repeated. import: the libraries, in a new process; "
        "load: from the folder to a model; start: load and first token, in a new process; "
        "first-token: from a prompt to its first new token; prefill: the prompt; decode: the "
        "tokens after the first one; train: forward, backward and AdamW.",
    )
    batch_size: Annotated[list[Positive], BeforeValidator(_several), Checks] = Field(
        [1], min_length=1, description="Texts at once. Can be repeated."
    )
    length: Annotated[list[Positive], BeforeValidator(_several), Checks, Also("prompt_tokens")] = (
        Field(
            [],
            description="Tokens of a prompt, or of a text that is trained on. Can be repeated. "
            "Left out, 512 or what the models can take.",
        )
    )
    new_tokens: int = Field(32, ge=2, description="Tokens to decode after the prompt.")
    cache: Annotated[list[CacheName], BeforeValidator(_several), Checks] = Field(
        ["dynamic"],
        min_length=1,
        description="How keys and values are kept, as in tfcli generate. Can be repeated.",
    )
    repeats: int = Field(
        3, ge=1, description="Measurements of a case in each process, after one that warms up."
    )
    rounds: int = Field(
        3,
        ge=1,
        description="Rounds: in each one every case is measured in a new process, one after the "
        "other, so that a machine that gets slower does so for all. Medians of the rounds are "
        "reported, with the lowest and the highest.",
    )
    vs: Annotated[list[Peer], BeforeValidator(_several), Checks] = Field(
        [],
        description="Measure these beside tfcli in the same rounds, as far as they have the case: "
        "transformers, where it is installed, on the same folder; llama.cpp (the package "
        "xllamacpp) on a GGUF file of the model. Can be repeated.",
    )
    gguf: InputPath | None = Field(
        None,
        description="The GGUF file for llama.cpp, of the one model. Left out, tfcli converts the "
        "model into one for the time of the benchmark. It is for vs: llama.cpp.",
    )
    baseline: InputPath | None = Field(
        None,
        description="An earlier benchmark.json, or what --json printed. Its rows must have the "
        "same models, cases, sizes, types and threads, and be of the same machine.",
    )
    fail_on: Annotated[
        str, AfterValidator(_is_percent), Placeholder("PERCENT"), Only(baseline=GIVEN)
    ] = Field(
        "5%",
        description="End with exit code 1 when a row takes longer than in the baseline by more "
        "than this, and by more than its rounds differ among themselves.",
    )
    other_machine: Annotated[bool, Only(baseline=GIVEN)] = Field(
        False, description="Compare with a baseline of another machine all the same."
    )
    log_axes: Annotated[bool, Only(output=GIVEN)] = Field(
        False, description="Plot on logarithmic axes."
    )
    threads: int | None = Field(
        None, ge=1, description="Threads of the processor; left out, torch chooses."
    )
    load_in: LoadIn = None
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    family_file: FamilyFile = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given, cases = self.model_fields_set, set(self.case)
        idle = {
            "new_tokens": not cases & {"decode"},
            "batch_size": not cases & set(OF_A_TEXT),
            "length": not cases & set(OF_A_TEXT),
            "cache": not cases & set(CACHED),
            "repeats": not cases - {"import", "start"},
            "gguf": "llama.cpp" not in self.vs,
        }
        for key, without in idle.items():
            if without and key in given:
                beside = "vs" if key == "gguf" else "case"
                raise ValueError(f"{key} has no effect with this {beside}")
        if self.vs and self.load_in is not None:
            raise ValueError("load_in is tfcli's own: vs would compare it with dense weights")
        if self.vs and "dynamic" not in self.cache and cases & set(CACHED):
            raise ValueError("vs is measured with the dynamic cache, which cache leaves out")
        if self.gguf is not None and len(self.models) > 1:
            raise ValueError("gguf is the file of one model, and there are several")
        return self
