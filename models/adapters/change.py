"""What one adapter does to one module."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Change(nn.Module):
    """The change of a module by one adapter; its parameters are what is trained.

    Its tensors are called as PEFT calls them, behind the module's name.
    """

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

    def undone(self, weight: Tensor) -> Tensor:
        """The weight as it was before there was this adapter."""
        return weight
