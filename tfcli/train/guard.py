"""What keeps numbers that would spoil the weights from reaching them."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.errors import WorkError
from tfcli.train.batch import Batch
from tfcli.train.callbacks.callback import Callback

REMEMBERED = 50
"""Norms of gradients that a new one is compared with."""
FEWEST = 10
"""As long as fewer are known, none is called too large: the first steps are unlike later ones."""
LOWER = "lower optimizer.lr, lengthen schedule.warmup_steps, or set precision: float32"


class Guard(Callback):
    """Stops a run at a number that is not finite, or at a gradient far larger than those before,
    and keeps the batches of that step.

    Args:
        folder: where the batches go; None keeps none.
        rank: of this process, whose batches they are.
        spike_factor: how many times the median of the last norms is too much; None allows all.
    """

    name: ClassVar[str] = "guard"

    def __init__(
        self, folder: Path | None = None, rank: int = 0, spike_factor: float | None = None
    ) -> None:
        self.folder, self.rank, self.factor = folder, rank, spike_factor
        self.norms: deque[float] = deque(maxlen=REMEMBERED)

    def check(self, step: int, batches: Sequence[Batch], name: str, value: float) -> None:
        """Refuse a figure of a step.

        Args:
            step: counted from 1.
            batches: of this process.
            name: what the figure is; a `gradient norm` is compared with those before.
            value: the same in all processes.

        Raises:
            WorkError: it will not do. The message names the file with the batches.
        """
        if not math.isfinite(value):
            self._stop(f"the {name} is {value} at step {step}", step, batches)
        if self.factor is None or name != "gradient norm":
            return
        usual = statistics.median(self.norms) if len(self.norms) >= FEWEST else math.inf
        if value > self.factor * usual:
            self._stop(
                f"the {name} jumped to {value:.4g} at step {step}, {value / usual:.1f} times the "
                f"median of the last {len(self.norms)} steps (spike_factor: {self.factor:g})",
                step,
                batches,
            )
        self.norms.append(value)

    def _stop(self, what: str, step: int, batches: Sequence[Batch]) -> None:
        kept = ""
        if self.folder is not None and batches:
            path = self.folder / f"stopped-step-{step}-rank-{self.rank}.safetensors"
            write_safetensors(path, _tensors(batches))
            kept = f"; its data are in {path}"
        raise WorkError(what + kept, fix=LOWER)

    def state(self) -> dict[str, Any]:
        """The norms that are remembered."""
        return {"norms": list(self.norms)} if self.norms else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Callback`."""
        self.norms.extend(state["norms"])


def _tensors(batches: Sequence[Batch]) -> list[PendingTensor]:
    """All tensors of several batches: `<number of the forward pass>.<name>`."""
    return [
        PendingTensor.of(f"{number}.{name}", tensor.contiguous())
        for number, batch in enumerate(batches)
        for name, tensor in batch.items()
    ]
