"""What the loop asks of however a model is spread over processes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.quantized import packed_linears
from tfcli.models.sharding import whole
from tfcli.process_group import Processes
from tfcli.train import state
from tfcli.train.state import Values
from tfcli.units import format_bytes

MakeOptimizer = Callable[[Model], torch.optim.Optimizer]


class Strategy(ABC):
    """One way to train a model in one process or several.

    Args:
        processes: those that train together.

    Attributes:
        name: in a recipe.
        lockstep: every forward pass is one of all processes together.
    """

    name: str
    lockstep: bool = False

    def __init__(self, processes: Processes) -> None:
        self.processes = processes

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.processes.device

    @property
    def share(self) -> int:
        """Which share of the data this process sees."""
        return self.processes.rank

    @property
    def shares(self) -> int:
        """How many shares there are. Processes with the same one compute the same together."""
        return self.processes.count

    def spread(self, model: Model) -> None:  # noqa: B027 - most spread nothing
        """Spread the parameters of a model over the processes before it has memory."""

    @abstractmethod
    def wrap(
        self, model: Model, make_optimizer: MakeOptimizer, clip_norm: float | None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Put a model on the device, and give what a forward pass calls and what moves the weights.
        The model's own parameters are those that are trained from now on.

        Args:
            model: after `spread`, with its weights.
            make_optimizer: makes one for the parameters of a model that is on its device.
            clip_norm: see `update`.
        """

    def uncompiled(self, model: Model) -> Callable[..., ModelOutput]:
        """A forward pass without what compiling made of it."""
        return model.forward

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Around the forward and backward pass of each part of a step; gradients need not be
        exchanged before the last."""
        return nullcontext()

    def backward(self, loss: Tensor, count: Tensor) -> None:
        """Add the gradients of a summed loss over `count`, that of all processes together."""
        # Gradients are averaged over the shares; the loss is a sum over them.
        (loss * (self.shares / count)).backward()

    def update(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None,
        check: Callable[[float], None],
    ) -> float:
        """Move the weights once, and forget the gradients.

        Args:
            model: has the gradients.
            optimizer: moves it.
            clip_norm: the norm that gradients are scaled down to; None leaves them.
            check: is told the norm, and raises where that will not do; before the weights are
                touched, where the strategy knows it then.

        Returns:
            the norm that the gradients had, the same in all processes
        """
        parameters = [each for each in model.parameters() if each.grad is not None]
        norm = float(self.clip(parameters, clip_norm or math.inf))
        check(norm)
        optimizer.step()
        model.zero_grad(set_to_none=True)
        return norm

    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
        """Scale the gradients of parameters down to a norm; returns the one that they had."""
        return whole(nn.utils.clip_grad_norm_(parameters, limit))

    def save_weights(self, model: nn.Module, folder: Path) -> None:
        """Write what this process has of the weights into a folder of all."""
        state.save_weights(model, folder, self.processes)

    def save_optimizer(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path
    ) -> Values:
        """The same of what the optimizer keeps; returns what is no tensor."""
        return state.save_optimizer(model, optimizer, folder, self.processes)

    def load_weights(self, model: nn.Module, folder: Path) -> None:
        """Take this process's part of what `save_weights` wrote, whichever strategy it was."""
        state.load_weights(model, folder)

    def load_optimizer(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        folder: Path,
        values: Mapping[str, Any],
    ) -> None:
        """The same of what `save_optimizer` wrote, for a fresh optimizer."""
        state.load_optimizer(model, optimizer, folder, values)

    def open(self, model: Model) -> None:  # noqa: B027 - most hold nothing back
        """When the training is over: let `sharding.whole` give every parameter whole."""

    def total(self, value: Tensor) -> Tensor:
        """The sum of a number over all shares of the data."""
        value = value.clone()
        self.processes.add(value)
        return value

    @abstractmethod
    def proof(self, wrapped: nn.Module) -> str:
        """What really runs, looked up in the objects themselves.

        Raises:
            WorkError: it is not what was asked for.
        """


def packed_whole(model: nn.Module) -> str:
    """What a proof says of the parts of packed weights that every process has whole; they are
    buffers, and those that are spread are parameters."""
    held = sum(
        buffer.nbytes for each in packed_linears(model).values() for buffer in each.buffers()
    )
    return f"; {format_bytes(held)} of packed weights whole in each" if held else ""
