"""Feed-forward layers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from tfcli.models.folding import Fold, span
from tfcli.models.layers.activations import activation, is_homogeneous
from tfcli.models.layers.dropout import dropout_of
from tfcli.models.layers.linear import linear


class GatedMLP(nn.Module):
    """down(act(gate(x)) * up(x)) (Shazeer 2020, "GLU variants").

    Args:
        hidden_size: d.
        intermediate_size: width in between.
        act: name of the activation.
        bias: whether the three projections have one.
        dropout: on the output.
        sub_norm: applied before the last linear.
        names: what checkpoints call the linears of the gate, of what it multiplies, and the last.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        act: str,
        bias: bool,
        *,
        dropout: float = 0.0,
        sub_norm: nn.Module | None = None,
        names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
    ) -> None:
        super().__init__()
        self.names = names
        for name in names[:2]:
            self.add_module(name, linear(hidden_size, intermediate_size, bias))
        self.add_module(names[2], linear(intermediate_size, hidden_size, bias))
        self.act = activation(act)
        self.ffn_sub_norm = sub_norm
        self.dropout = dropout_of(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        gate, up, down = (getattr(self, name) for name in self.names)
        inner = self.act(gate(x)) * up(x)
        if self.ffn_sub_norm is not None:
            inner = self.ffn_sub_norm(inner)
        return self.dropout(down(inner))

    @property
    def divides(self) -> bool:
        """Whether each inner value is computed by itself, for `tensor_parallel`."""
        return self.ffn_sub_norm is None

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return self.names[:2]

    def folds(self) -> Iterator[Fold]:
        """See `folding`: the gate multiplies each inner value by itself."""
        _, up, down = self.names
        yield Fold(up if self.ffn_sub_norm is None else "ffn_sub_norm", (down,))


class FusedGatedMLP(nn.Module):
    """The same with gate and up in one linear, the gate's rows first.

    Args:
        hidden_size: d.
        intermediate_size: width in between.
        act: name of the activation.
        bias: whether the two projections have one.
        names: what checkpoints call them.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        act: str,
        bias: bool,
        *,
        names: tuple[str, str] = ("gate_up_proj", "down_proj"),
    ) -> None:
        super().__init__()
        self.names = names
        self.add_module(names[0], linear(hidden_size, 2 * intermediate_size, bias))
        self.add_module(names[1], linear(intermediate_size, hidden_size, bias))
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        first, last = (getattr(self, name) for name in self.names)
        gate, up = first(x).chunk(2, dim=-1)
        return last(self.act(gate) * up)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return self.names[:1]

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        first, last = self.names
        inner = self.get_submodule(last)
        if isinstance(inner, nn.Linear):
            yield Fold(first, (last,), span(inner.in_features, 2 * inner.in_features))


class PlainMLP(nn.Module):
    """last(act(first(x))): two linears with an activation between.

    Args:
        hidden_size: d.
        intermediate_size: width in between.
        act: name of the activation.
        bias: whether the linears have one.
        dropout: on the output.
        names: what checkpoints call the two linears.
    """

    divides = True

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        act: str,
        bias: bool,
        *,
        dropout: float = 0.0,
        names: tuple[str, str] = ("c_fc", "c_proj"),
    ) -> None:
        super().__init__()
        self.names = names
        self.add_module(names[0], linear(hidden_size, intermediate_size, bias))
        self.add_module(names[1], linear(intermediate_size, hidden_size, bias))
        self.act = activation(act)
        self.dropout = dropout_of(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        first, last = (getattr(self, name) for name in self.names)
        return self.dropout(last(self.act(first(x))))

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return self.names[:1]

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        if is_homogeneous(self.act):
            yield Fold(self.names[0], (self.names[1],))
