"""Which tokens each step sees: a pure function of the seed and the step.

A text is one stream of tokens, documents one after another, each with the special tokens that its
tokenizer adds. Every epoch cuts the stream anew at a random place into windows that overlap by one
token, so that each token but the first is predicted exactly once, and shuffles them. The first and
the last window of an epoch are shorter. Steps take windows in that order across epochs.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from tfcli.models.losses import IGNORED

Stream = Callable[[int], torch.Tensor]
"""Epoch -> the tokens of the whole text, [n] int64."""


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits from a run's seed and what it is for; unrelated for unlike parts."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Batch:
    """Windows side by side.

    Args:
        input_ids (Tensor): [b, s]
        labels (Tensor): [b, s], the token that follows each input; -100 behind a shorter window's
            end, where no loss is counted.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.input_ids.to(device, non_blocking=True), self.labels.to(device, non_blocking=True)
        )


@dataclass(frozen=True)
class Windows:
    """Windows of one stream.

    Args:
        stream (Tensor): [n] int64.
        first (Tensor): [w] where each window's first input stands.
        targets (Tensor): [w] how many tokens each predicts, 1 to `length`.
        length: inputs of a whole window.
    """

    stream: torch.Tensor
    first: torch.Tensor
    targets: torch.Tensor
    length: int

    @classmethod
    def cut(cls, stream: torch.Tensor, length: int, offset: int = 0) -> Windows:
        """Cut a stream into windows in its order.

        Args:
            offset: targets of the window before the first whole one, 0 to length - 1.
        """
        edges = torch.arange(offset, len(stream) - 1, length)
        if offset:
            edges = torch.cat([torch.zeros(1, dtype=torch.int64), edges])
        ends = torch.cat([edges[1:], torch.tensor([len(stream) - 1])])
        return cls(stream, edges, ends - edges, length)

    def __len__(self) -> int:
        return len(self.first)

    def take(self, which: torch.Tensor) -> Batch:
        """The batch of the windows `which`, [b]."""
        position = torch.arange(self.length)
        # Behind a short window's end stand the stream's next tokens. No input before them sees
        # them, and no loss is counted on them.
        at = (self.first[which, None] + position).clamp_(max=len(self.stream) - 2)
        labels = self.stream[at + 1]
        labels[position >= self.targets[which, None]] = IGNORED
        return Batch(self.stream[at], labels)


@dataclass(frozen=True)
class StepData:
    """One process's share of one optimizer step.

    Args:
        micro: the batches, one forward pass each.
        targets: tokens that the step predicts in all processes together.
        epoch: the epoch of the step's last window, counted from 0.
    """

    micro: tuple[Batch, ...]
    targets: int
    epoch: int


@dataclass
class Feed:
    """Splits the endless sequence of windows among steps, processes and forward passes.

    Args:
        stream: the tokens of an epoch.
        length: tokens that a window predicts.
        batch_size: windows a forward pass.
        accumulation: forward passes a step.
        seed: of the cuts and the order.
        rank: this process.
        processes: how many there are.
        epoch_starts: the number of the first window of each epoch known so far. A resumed run is
            given those of its checkpoint, so that it need not make earlier epochs again.
    """

    stream: Stream
    length: int
    batch_size: int
    accumulation: int
    seed: int
    rank: int = 0
    processes: int = 1
    epoch_starts: list[int] = field(default_factory=lambda: [0])
    _current: tuple[int, Windows, torch.Tensor] | None = None

    @property
    def windows_per_step(self) -> int:
        """Windows that all processes together take in one step."""
        return self.batch_size * self.accumulation * self.processes

    def step(self, number: int) -> StepData:
        """This process's share of step `number`, counted from 0."""
        first = number * self.windows_per_step
        pieces = list(self._pieces(first, self.windows_per_step))
        targets = sum(int(windows.targets[which].sum()) for _, windows, which in pieces)
        batches = [windows.take(which) for _, windows, which in pieces]
        ids = torch.cat([batch.input_ids for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        share = self.batch_size * self.accumulation
        mine = slice(self.rank * share, (self.rank + 1) * share)
        rows = zip(
            ids[mine].split(self.batch_size), labels[mine].split(self.batch_size), strict=True
        )
        return StepData(tuple(Batch(*pair) for pair in rows), targets, pieces[-1][0])

    def epochs_after(self, steps: int) -> float:
        """How often the text was seen after `steps` steps."""
        number = steps * self.windows_per_step
        epoch, windows, _ = self._epoch_of(max(0, number - 1))
        return epoch + (number - self.epoch_starts[epoch]) / len(windows)

    def _pieces(self, first: int, count: int) -> Iterator[tuple[int, Windows, torch.Tensor]]:
        """The epochs, windows and chosen windows that `count` numbers from `first` fall in."""
        while count:
            epoch, windows, order = self._epoch_of(first)
            start = first - self.epoch_starts[epoch]
            which = order[start : start + count]
            yield epoch, windows, which
            first, count = first + len(which), count - len(which)

    def _epoch_of(self, number: int) -> tuple[int, Windows, torch.Tensor]:
        """The epoch that holds window `number`, its windows and their order."""
        while True:
            epoch = bisect.bisect_right(self.epoch_starts, number) - 1
            found = self._epoch(epoch)
            end = self.epoch_starts[epoch] + len(found[1])
            if number < end:
                return found
            if len(self.epoch_starts) == epoch + 1:
                self.epoch_starts.append(end)

    def _epoch(self, epoch: int) -> tuple[int, Windows, torch.Tensor]:
        if self._current is None or self._current[0] != epoch:
            random = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            offset = int(torch.randint(self.length, (), generator=random))
            windows = Windows.cut(self.stream(epoch), self.length, offset)
            order = torch.randperm(len(windows), generator=random)
            self._current = (epoch, windows, order)
        return self._current
