"""What one process of a benchmark is told to do, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """One case of one model. Device, type and threads are settled by the caller.

    Args:
        side: `tfcli`, `transformers` or `llama.cpp`.
        model: what the side loads: a model's reference, its folder, or a GGUF file.
        batch_size: texts at once.
        length: tokens of each text.
        new_tokens: tokens to decode after it.
        repeats: measurements after one that warms up.
    """

    side: str
    case: str
    model: str
    batch_size: int
    length: int
    new_tokens: int
    cache: str
    repeats: int
    threads: int
    load_in: str | None
    dtype: str
    device: str
    attention: str
    family_file: str | None


@dataclass(frozen=True)
class Answer:
    """What a process measured.

    Args:
        seconds: of every measurement; of decode a token's, of train a step's.
        unpacked: packed weights were unpacked at load.
        work: bytes read or floating-point operations in such a time; 0 where that is not counted.
        peak_bytes: most memory of the process.
        private_bytes: what no file backs, after the work.
        device_bytes: most memory of the device; None on the CPU.
        memory: the parts of the memory by name; empty where they were not counted.
        joules: of one such time; None where that cannot be read.
    """

    seconds: list[float]
    peak_bytes: int
    private_bytes: int | None = None
    device_bytes: int | None = None
    unpacked: bool = False
    work: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    joules: float | None = None

    @classmethod
    def of(cls, told: dict[str, Any]) -> Answer:
        """From what the process printed."""
        return cls(**told)
