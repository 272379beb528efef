"""Processes that do one piece of work together, as torchrun starts them: gloo on CPUs, NCCL on
CUDA devices, of which each has one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tfcli.devices import pick_device
from tfcli.errors import UsageError, WorkError
from tfcli.processes import started_processes
from tfcli.rendezvous import form_group

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them.

    Args:
        rank: of this one.
        count: how many they are; without a launcher 1, and nothing is exchanged.
        device: where this one works.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def add(self, *tensors: Tensor) -> None:
        """Put the sum over all processes into tensors that each of them has, in the same order."""
        for tensor in tensors if self.count > 1 else ():
            dist.all_reduce(tensor)

    def largest(self, tensor: Tensor) -> None:
        """Put the largest that any process has into a tensor, number by number."""
        if self.count > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MAX)

    def joined(self, tensor: Tensor) -> Tensor:
        """Tensors of one dimension and any lengths, on the CPU, one after the other in the order
        of ranks."""
        if self.count == 1:
            return tensor
        lengths = torch.zeros(self.count, dtype=torch.long, device=self.device)
        lengths[self.rank] = len(tensor)
        self.add(lengths)
        row = tensor.new_zeros(int(lengths.max()))
        row[: len(tensor)] = tensor
        rows = [torch.empty_like(row, device=self.device) for _ in range(self.count)]
        dist.all_gather(rows, row.to(self.device))
        pairs = zip(rows, lengths.tolist(), strict=True)
        return torch.cat([each[:length].cpu() for each, length in pairs])

    def any(self, flag: bool) -> bool:
        """Whether any process says yes."""
        said = torch.tensor(float(flag), device=self.device)
        self.add(said)
        return bool(said > 0)

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            dist.barrier()

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all processes, those of the first one first. They are plain values."""
        if self.count == 1:
            return items
        every: list[list[T]] = [[] for _ in range(self.count)]
        dist.all_gather_object(every, items)
        return [item for each in every for item in each]

    def told(self, text: str) -> str:
        """What the first process says, in all of them; they wait for it here."""
        said = [text]
        dist.broadcast_object_list(said, src=0, device=self.device)
        return said[0]


ALONE = Processes(0, 1, torch.device("cpu"))
"""One process, on the CPU."""


def join(device: str) -> Processes:
    """Meet the processes that a launcher has started together; without one this one is alone.

    They stay together, also for the next step of a recipe.

    Args:
        device: as the user names it. Of several processes on CUDA each has a device of its own.

    Raises:
        UsageError: there is no such device, or not one for each process.
    """
    place = pick_device(device)
    if started_processes() == 1:
        return Processes(0, 1, place)
    if place.type == "cuda":
        place = pick_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    if place.type == "mps":
        raise UsageError(
            "several processes work together on CPUs or CUDA devices alone",
            where="device",
            fix="device: cpu, or start one process",
        )
    if not dist.is_initialized():
        form_group(backend_of(place))
    dist.barrier()
    return Processes(dist.get_rank(), dist.get_world_size(), place)


def wait_for_all() -> None:
    """Wait until every process that `join` has met has come here."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def losses_named() -> Iterator[None]:
    """Turn what the library says when another process is gone into an error that says so.

    Raises:
        WorkError: in place of it.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "gloo/transport" in str(error)
        if not (dist.is_initialized() and lost):
            raise
        raise WorkError(
            "another process of this run is gone",
            fix="look at its own messages; started again, a run goes on from its last checkpoint "
            "(torchrun --max-restarts does that)",
        ) from error


def have_group(device: torch.device) -> None:
    """Make a group of this process alone where no launcher made one: libraries ask for one."""
    if not dist.is_initialized():
        dist.init_process_group(backend_of(device), store=dist.HashStore(), rank=0, world_size=1)


def backend_of(device: torch.device) -> str:
    """What processes on such devices exchange tensors by."""
    return "nccl" if device.type == "cuda" else "gloo"
