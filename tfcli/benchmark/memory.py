"""How much memory a process holds and has held, and what of it is what."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


def peak_memory() -> int:
    """The most bytes that this process has held in memory, mapped libraries included."""
    found = _status("VmHWM")
    if found is not None:
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def held_memory() -> int | None:
    """The bytes that this process holds now, mapped libraries included; None off Linux."""
    return _status("VmRSS")


def private_memory() -> int | None:
    """The bytes that this process holds now and that no file backs; None off Linux."""
    return _status("RssAnon")


def forget_peak() -> bool:
    """Let `peak_memory` count from now on; False where the system has no such thing."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[list[int]]:
    """Within it, a list of one number: bytes that forward passes keep for the backward pass.

    Parameters do not count, and a tensor that is kept twice counts once.
    """
    import torch

    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    seen: set[int] = set()
    total = [0]

    def see(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place not in weights and place not in seen:
            seen.add(place)
            total[0] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        yield total


def gradient_bytes(model: nn.Module) -> int:
    """Bytes of the gradients that a model's parameters have now."""
    return sum(each.grad.nbytes for each in model.parameters() if each.grad is not None)


def optimizer_bytes(optimizer: Optimizer) -> int:
    """Bytes of the tensors that an optimizer keeps for its parameters."""
    kept = [value for state in optimizer.state.values() for value in state.values()]
    return sum(each.nbytes for each in kept if hasattr(each, "nbytes"))


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024  # the file says kB and means KiB
    return None
