"""A module with adapters on it, in the module's place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.models.adapters.bases import bias_of
from tfcli.models.adapters.change import Change
from tfcli.models.sharding import fitted, whole


class Wrapper(nn.Module, ABC):
    """What stands in a module's place; of what it has not itself, the module is asked.

    Args:
        base: the module.

    Attributes:
        active: names of the adapters that count, in their order.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base
        self.active: tuple[str, ...] = ()
        self.train(base.training)

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The adapters that are here."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
        return getattr(self.asked(), name)

    def asked(self) -> nn.Module:
        """The module that attributes are those of."""
        return self.base_layer


class Adapted(Wrapper):
    """A linear or a table with the changes of one or more adapters.

    Args:
        base: the module, whose own values stay as they are.

    Attributes:
        changes: by the names of adapters.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__(base)
        self.changes = nn.ModuleDict()

    @property
    def names(self) -> list[str]:
        return list(self.changes)

    def change(self, name: str) -> Change:
        """What an adapter does here."""
        found = self.changes[name]
        assert isinstance(found, Change)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [..., in], or ids -> [..., out]"""
        active = [self.change(name) for name in self.active if name in self.changes]
        given = x
        for change in active:
            given = change.before(given)
        plain: Tensor = self.base_layer(given)
        result = plain
        for change in active:
            result = change.after(x, result, plain, self.base_layer)
        for name in self.changes:
            if name not in self.active:
                result = self.change(name).absent(given, result)
        return result

    @torch.no_grad()
    def merge(self, names: tuple[str, ...]) -> nn.Module:
        """The module with some adapters worked into its weight, and as it was without the others.

        The parameters are new, so that what shared them keeps its values. Processes over which the
        model is spread call it together.
        """
        base = self.base_layer
        slot, own = base.get_parameter("weight"), bias_of(base)
        weight, bias = whole(slot), None if own is None else whole(own)
        made: Tensor = weight
        shift: Tensor | None = bias
        for name in self.changes:
            change = self.change(name)
            if name in names:
                made, shift = change.merged(made, shift)
            else:
                made = change.undone(made)
        if made is not weight:
            base.weight = fitted(slot, made)
        if shift is not None and shift is not bias:
            base.bias = nn.Parameter(shift) if own is None else fitted(own, shift)
        return base


class Replaced(Wrapper):
    """A module that an adapter trains whole, beside the one that it takes the place of.

    Args:
        base: the module as it was.

    Attributes:
        copies: by the names of adapters.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__(base)
        self.copies = nn.ModuleDict()

    @property
    def names(self) -> list[str]:
        return list(self.copies)

    def asked(self) -> nn.Module:
        return next(
            (self.copies[name] for name in reversed(self.active) if name in self.copies),
            self.base_layer,
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module of the adapter that was made active last gives."""
        return self.asked()(*args, **kwargs)
