"""What was counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """What one process holds when most is held.

    Args:
        parts: kind -> bytes.
        allocator: bytes of the heap that hold nothing then.
        parameters: of the whole model.
        trainable: those that are trained; None where nothing is.
    """

    parts: Mapping[str, int]
    allocator: int
    parameters: int
    trainable: int | None

    @property
    def total(self) -> int:
        """Bytes, without the program's own."""
        return sum(self.parts.values()) + self.allocator
