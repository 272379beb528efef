"""How a family tells quantization methods which linears it has and in what order they run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CalibrationWalk:
    """The linears of a model, block by block.

    Args:
        blocks: dotted path of the block list, such as `model.layers`.
        groups: within a block, the linears that share one input, in execution order.
    """

    blocks: str
    groups: tuple[tuple[str, ...], ...]

    def linears(self) -> tuple[str, ...]:
        """Every linear of a block, in execution order."""
        return tuple(name for group in self.groups for name in group)
