"""What the loop asks of however a model is spread over processes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.sharding import whole
from tfcli.process_group import Processes


class Strategy(ABC):
    """One way to train a model in one process or several.

    Class attributes:
        name: in a recipe.
        lockstep: every forward pass is one of all processes together.

    Args:
        processes: those that train together.
    """

    name: ClassVar[str]
    lockstep: ClassVar[bool] = False

    def __init__(self, processes: Processes) -> None:
        self.processes = processes

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.processes.device

    def spread(self, model: Model) -> None:  # noqa: B027 - most spread nothing
        """Spread the parameters of a model over the processes before it has memory."""

    @abstractmethod
    def wrap(self, model: Model) -> nn.Module:
        """Put a model on the device, and give what a forward pass calls. The model's own parameters
        are those that are trained from now on."""

    def uncompiled(self, model: Model) -> Callable[..., ModelOutput]:
        """A forward pass without what compiling made of it."""
        return model.forward

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Around the forward and backward pass of each part of a step; gradients need not be
        exchanged before the last."""
        return nullcontext()

    def backward(self, loss: Tensor, count: Tensor) -> None:
        """Add the gradients of a summed loss over `count`, that of all processes together."""
        # Processes average their gradients; the loss is a sum over them.
        (loss * (self.processes.count / count)).backward()

    def clip(self, model: nn.Module, limit: float | None) -> float:
        """Scale the gradients down to a norm, and give the norm that they had; all processes have
        the same."""
        parameters = [each for each in model.parameters() if each.grad is not None]
        return float(whole(nn.utils.clip_grad_norm_(parameters, limit or math.inf)))

    def total(self, value: Tensor) -> Tensor:
        """The sum of a number over all processes."""
        value = value.clone()
        self.processes.add(value)
        return value

    @abstractmethod
    def proof(self, wrapped: nn.Module) -> str:
        """What really runs, looked up in the objects themselves.

        Raises:
            WorkError: it is not what was asked for.
        """
