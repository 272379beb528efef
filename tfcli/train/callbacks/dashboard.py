"""A view of a run in a terminal, redrawn as it goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psutil
import torch

from tfcli.console import Console
from tfcli.train.callbacks.callback import Callback
from tfcli.train.checkpoint import Progress
from tfcli.train.pace import Length
from tfcli.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

HEIGHTS = "▁▂▃▄▅▆▇█"
WIDTH = 40
"""Characters of the bar and of the curve."""


class Dashboard(Callback):
    """How far a run is, its losses, rate, memory and time left.

    Args:
        console: has the terminal.
        length: of the run.
        device: whose memory counts.
        unit: what a target is, in one word.
    """

    def __init__(
        self, console: Console, length: Length, device: torch.device, unit: str = "token"
    ) -> None:
        self.console, self.length, self.device, self.unit = console, length, device, unit
        self._losses: deque[float] = deque(maxlen=40 * WIDTH)
        self._validated: list[float] = []
        self._stack = ExitStack()

    def begin(self, progress: Progress) -> None:
        """Show the view."""
        self._progress = progress
        self._show = self._stack.enter_context(self.console.live())

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """Draw it anew with a step's figures."""
        self._losses.append(figures["loss"])
        if figures.get("val_loss") is not None:
            self._validated.append(figures["val_loss"])
        self._show(self._view(figures))

    def end(self) -> None:
        """Take the view away."""
        self._stack.close()

    def _view(self, figures: Mapping[str, Any]) -> RenderableType:
        from rich.table import Table

        progress = self._progress
        share = self.length.share(progress.step, progress.seconds)
        left = progress.seconds * (1 - share) / share if share else 0.0
        of = "" if self.length.steps is None else f" of {self.length.steps:,}"
        rows = {
            "train": f"{bar(share)} {share:4.0%}",
            "step": f"{progress.step:,}{of}, {format_seconds(left)} left",
            "loss": f"{curve(self._losses)} {figures['loss']:.4f}",
        }
        if self._validated:
            best = f", best {progress.best['val_loss']:.4f}" if progress.best else ""
            rows["validation"] = f"{curve(self._validated)} {self._validated[-1]:.4f}{best}"
        rows["rate"] = f"{figures['lr']:.3g}, gradient norm {figures['grad_norm']:.3g}"
        rows["speed"] = f"{figures['tokens_per_second']:,.0f} {self.unit}s a second"
        rows["memory"] = format_bytes(memory_used(self.device))
        table = Table.grid(padding=(0, 2))
        for name, text in rows.items():
            table.add_row(name, text)
        return table


def bar(share: float) -> str:
    """A share as a bar of WIDTH characters."""
    full = round(share * WIDTH)
    return "━" * full + "╌" * (WIDTH - full)


def curve(values: Sequence[float]) -> str:
    """Values as one line of blocks, each the mean of as many; the lowest value is the lowest."""
    size = max(1, -(-len(values) // WIDTH))
    every = list(values)
    means = [
        sum(part) / len(part) for part in (every[i : i + size] for i in range(0, len(every), size))
    ]
    low, high = min(means), max(means)
    steps = [0 if high == low else (each - low) / (high - low) for each in means]
    return "".join(HEIGHTS[round(each * (len(HEIGHTS) - 1))] for each in steps)


def memory_used(device: torch.device) -> int:
    """Bytes of the process, or what it holds of a CUDA device."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    used: int = psutil.Process().memory_info().rss
    return used
