"""What one adapter does to one module."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from tfcli.models.sharding import whole


@dataclass(frozen=True)
class Kept:
    """A tensor that a file keeps of an adapter.

    Args:
        shape: of the whole.
        dtype: of the values.
        read: makes it; processes over which it is spread call it together.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> Kept:
        """One that is there, or spread."""
        return cls(tuple(tensor.shape), tensor.dtype, partial(whole, tensor.detach()))


class Change(nn.Module):
    """The change of a module by one adapter; its parameters are what is trained.

    Its tensors are called as PEFT calls them, behind the module's name.
    """

    def reset(self) -> None:
        """Give the parameters the values with which the module computes what it did."""

    def before(self, x: Tensor) -> Tensor:
        """What the module is given in place of x."""
        return x

    @abstractmethod
    def after(self, x: Tensor, result: Tensor, plain: Tensor, base: nn.Module) -> Tensor:
        """What the module gives with this adapter.

        Args:
            x (Tensor): what the module was called with: [..., in], or ids of a table.
            result (Tensor): [..., out], with the adapters before this one.
            plain (Tensor): [..., out], what the base gave.
            base: the module.
        """

    def absent(self, x: Tensor, result: Tensor) -> Tensor:
        """What the module gives while this adapter is not active: what it gave before there was
        one."""
        return result

    @abstractmethod
    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The weight [out, in], or [rows, width] of a table, and the bias [out] with this adapter
        worked in."""

    def kept(self) -> dict[str, Kept]:
        """What a file keeps of it, by PEFT's names behind the module's."""
        return {leaf: Kept.of(tensor) for leaf, tensor in self.named_parameters()}

    def undone(self, weight: Tensor) -> Tensor:
        """The weight as it was before there was this adapter."""
        return weight
