"""What was counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Account:
    """What one process holds when most is held.

    Args:
        parts: kind -> bytes.
        allocator: bytes of the heap that hold nothing then.
        parameters: of the whole model.
        trainable: those that are trained; None where nothing is.
        lasting: kind -> bytes that stay from step to step; of gradients, all of one step's.
    """

    parts: Mapping[str, int]
    allocator: int
    parameters: int
    trainable: int | None
    lasting: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes, without the program's own."""
        return sum(self.parts.values()) + self.allocator
