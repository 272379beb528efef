"""What `tfcli benchmark` measured."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from tfcli.recipe.spec import Result

Bound = Literal["memory", "arithmetic"]


class BenchmarkMemory(BaseModel):
    """Where the memory of a case went. The parts add up to the most that was held while it ran.

    That is the sum of weights, gradients, optimizer states, forward activations and temporary
    memory; what a function of its own holds, here keys and values, is counted apart from the last,
    and so is the program.
    """

    model_config = ConfigDict(frozen=True)

    runtime: int = Field(description="Bytes of the program and its libraries; 0 on a device.")
    weights: int = Field(description="Bytes of parameters and buffers.")
    gradients: int = Field(description="Bytes of gradients; 0 but for train.")
    optimizer: int = Field(description="Bytes of the optimizer's states; 0 but for train.")
    activations: int = Field(
        description="Bytes that the forward pass keeps for the backward pass; 0 but for train."
    )
    cache: int = Field(description="Bytes of keys, values and states of the texts.")
    temporary: int = Field(description="The rest: what a step makes and lets go.")


class BenchmarkRow(BaseModel):
    """One case of one model, over all rounds."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(description="The model.")
    model_hash: str = Field(
        description="Hash of its config and of the names, types and shapes of its tensors: equal "
        "for models that take equal time."
    )
    side: Literal["tfcli", "transformers", "llama.cpp"] = Field(description="What ran it.")
    case: str = Field(description="What was measured.")
    batch_size: int | None = Field(None, description="Texts at once; null for import and load.")
    length: int | None = Field(None, description="Tokens of each text; null for import and load.")
    new_tokens: int | None = Field(None, description="Tokens after each prompt, of decode.")
    cache: str | None = Field(None, description="How keys and values were kept.")
    load_in: str | None = Field(
        None, description="What its linear layers were quantized to at load; null for nothing."
    )
    dtype: str = Field(description="The type of the weights that are not quantized.")
    attention: str = Field(description="How attention was computed.")
    unpacked: bool = Field(
        False,
        description="Whether its packed weights were unpacked at load, since no kernel runs them.",
    )
    weight_bytes: int = Field(
        description="Bytes of its tensors, as they are stored or as load_in makes them."
    )
    seconds: float = Field(
        description="Time of the case, of decode for each new token, of train for each step: the "
        "median over the rounds' medians."
    )
    seconds_low: float = Field(description="The lowest median of a round.")
    seconds_high: float = Field(description="The highest median of a round.")
    seconds_p50: float = Field(description="Median over all measurements.")
    seconds_p90: float = Field(description="90% of all measurements took no longer.")
    seconds_p99: float = Field(description="99% of all measurements took no longer.")
    tokens_per_second: float | None = Field(
        None, description="Tokens of all texts a second, at `seconds`; null where none are read."
    )
    bound: Bound | None = Field(
        None, description="Which limit of the machine the case is compared with, or null."
    )
    work: int | None = Field(
        None,
        description="Bytes of weights and cache that must be read (memory), or multiplications "
        "and additions (arithmetic), in `seconds`.",
    )
    share: float | None = Field(
        None,
        description="The rate of that work divided by the machine's, measured before and after "
        "each round: the median. Small models stay in a processor's caches and may exceed 1.",
    )
    peak_memory_bytes: int = Field(
        description="Most memory that the process held from its start, with the libraries and "
        "the weights."
    )
    private_memory_bytes: int | None = Field(
        None,
        description="The part that no file backs, after the work; null where the system does not "
        "say.",
    )
    device_memory_bytes: int | None = Field(
        None, description="Most memory of the accelerator; null on the CPU."
    )
    memory: BenchmarkMemory | None = Field(
        None, description="Where it went; null for import, load, start and llama.cpp."
    )
    joules_per_token: float | None = Field(
        None, description="Energy a token; null where it cannot be read."
    )
    rounds: list[list[float]] = Field(
        description="Every measurement in seconds, a list for each round."
    )


class BenchmarkLimits(BaseModel):
    """What the machine can do at most, measured before the first round and after each."""

    model_config = ConfigDict(frozen=True)

    loop: str = Field(description="How memory was read: a plain loop of its own, or torch.sum.")
    bytes_per_second: list[float] = Field(description="Rates of reading memory.")
    multiplied: dict[str, list[float]] = Field(
        description="Type -> rates of a large matrix product, in multiplications and additions a "
        "second."
    )


class BenchmarkRegression(BaseModel):
    """A row beside the baseline's."""

    model_config = ConfigDict(frozen=True)

    row: int = Field(description="Where it stands among the rows.")
    before: float = Field(description="Seconds in the baseline.")
    after: float = Field(description="Seconds now.")
    change: float = Field(description="after / before - 1.")
    change_to_limit: float | None = Field(
        description="The same of times counted in what the machine could have done in them, which "
        "takes out a machine that is slower itself; null where the row has no share."
    )
    chance: float = Field(
        description="How likely rounds differ so far, or further, by chance alone (rank test)."
    )
    regressed: bool = Field(
        description="Whether it is slower by more than fail_on, both ways, and chance is below "
        "5% over all rows together."
    )


class BenchmarkResult(Result):
    """What `tfcli benchmark` measured, with what the figures depend on."""

    schema_name: ClassVar[str] = "tfcli.benchmark/2"

    rows: list[BenchmarkRow] = Field(
        description="A row for each model, side, case, batch, length and cache."
    )
    repeats: int = Field(description="Measurements in each process, after one that warms up.")
    threads: int = Field(description="Processor threads.")
    device: str = Field(description="Where the models ran.")
    limits: BenchmarkLimits = Field(description="What the machine can do at most.")
    energy: str = Field(description="What energy was read from, or why it was not.")
    machine: dict[str, str | int] = Field(description="What it was measured on.")
    versions: dict[str, str] = Field(description="Package -> version.")
    notes: list[str] = Field([], description="What was left out, and why.")
    baseline: str | None = Field(None, description="The file that it was compared with.")
    fail_on: float | None = Field(None, description="How much slower a row may be.")
    compared: list[BenchmarkRegression] = Field(
        [], description="tfcli's rows beside those of the baseline."
    )

    @property
    def rounds(self) -> int:
        """How many there were: the machine was measured before the first one and after each."""
        return len(self.limits.bytes_per_second) - 1

    def finding(self) -> str | None:
        """What regressed, for a command that then ends with exit code 1."""
        slower = sum(item.regressed for item in self.compared)
        if not slower:
            return None
        count = len(self.compared)
        return f"{slower} of {count} rows are slower than in {self.baseline}, beyond the noise"
