"""Tensors that are spread over processes, gathered one at a time for the process that writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tfcli.process_group import Processes

Read = Callable[[], Tensor]

_END = -1


def led(
    reads: Sequence[Read], processes: Processes, work: Callable[[Sequence[Read]], None]
) -> None:
    """Let the first process do work that reads tensors in an order of its own, while the others
    take part in gathering each.

    Args:
        reads: make the tensors; the same ones in every process, which all must call one together.
        processes: all call this.
        work: is done in the first process alone, with functions that read.
    """
    if not processes.first:
        while (number := _told(processes, _END)) != _END:
            reads[number]()
        return

    def leading(number: int) -> Read:
        def read() -> Tensor:
            _told(processes, number)
            return reads[number]()

        return read

    try:
        work([leading(number) for number in range(len(reads))])
    finally:
        _told(processes, _END)


def _told(processes: Processes, number: int) -> int:
    """The number that the first process says."""
    if processes.count == 1:
        return number
    said = torch.tensor(number, device=processes.device)
    torch.distributed.broadcast(said, src=0)
    return int(said)
