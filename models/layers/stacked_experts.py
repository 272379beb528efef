"""The experts of a mixture as one: each linear's weights in one stack.

An expert's own forward still says what it computes. Its linears are exchanged for `StackedLinear`,
which multiplies each row by the weight of the row's expert. Nothing has to be read from the device
to know which expert gets how many rows, a layer takes a few launches and not three for each expert,
and a compiler sees one graph.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models import processor
from tfcli.models.errors import ModelError
from tfcli.models.layers.linear import Linear, product
from tfcli.models.layers.routing import Routing

MOST_GATHERED = 64
"""Rows, beyond which weights are not copied for each row. Not measured yet."""

Way = Literal["counted", "gathered", "grouped", "masked"]


@dataclass
class Shares:
    """Which rows are whose, in the call that runs: what the linears of a mixture share.

    Args:
        way: how to multiply; see `StackedExperts.way`.
        experts (Tensor): int64 [rows], the expert of each row; sorted, unless weights are gathered.
        counts (Tensor): int64 [experts], the rows of each.
        sizes: `counts` as numbers, where the host knows them.
    """

    way: Way
    experts: torch.Tensor
    counts: torch.Tensor
    sizes: list[int]


class StackedLinear(nn.Module):
    """The linears of one name of all experts.

    Args:
        layers: as many as there are experts, each [in, out], with or without a bias.

    Attributes:
        weight (Tensor): [experts, out, in]
        bias (Tensor): [experts, out], or None.
        shares: which rows are whose, while the mixture runs.
    """

    def __init__(self, layers: Sequence[Linear]) -> None:
        super().__init__()
        self.weight = _stack([layer.get_parameter("weight") for layer in layers])
        biases = [layer.get_parameter("bias") for layer in layers if layer.bias is not None]
        self.bias = _stack(biases) if biases else None
        self.shares: Shares | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [rows, in] -> [rows, out], each row by its expert's weight"""
        shares = self.shares
        assert shares is not None
        if shares.way == "counted":
            return self._one_by_one(x, shares.sizes)
        weight: torch.Tensor = self.weight
        if torch.is_autocast_enabled(x.device.type):  # it does not know the grouped product
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        if shares.way == "gathered":
            out = torch.bmm(weight[shares.experts], x[:, :, None])[:, :, 0]
        elif shares.way == "grouped":
            ends = shares.counts.cumsum(0).to(torch.int32)
            out = F.grouped_mm(x, weight.transpose(1, 2), offs=ends)
        else:
            out = x.new_zeros(len(x), weight.shape[1])
            for number, each in enumerate(weight.unbind()):
                mine = (shares.experts == number)[:, None]
                out = torch.where(mine, F.linear(x, each), out)
        return out if self.bias is None else out + self.bias[shares.experts].to(out.dtype)

    def _one_by_one(self, x: torch.Tensor, sizes: list[int]) -> torch.Tensor:
        biases = [None] * len(sizes) if self.bias is None else self.bias.unbind()
        parts = zip(x.split(sizes), self.weight.unbind(), biases, strict=True)
        return torch.cat([product(rows, w, b) for rows, w, b in parts if len(rows)])

    def extra_repr(self) -> str:
        experts, outputs, inputs = self.weight.shape
        return f"{experts} x ({inputs}, {outputs}), bias={self.bias is not None}"


class StackedExperts(nn.Module):
    """All experts of a mixture, in the place of their list.

    Args:
        experts: all alike: modules [n, d] -> [n, d] whose parameters are those of linears.

    Raises:
        ModelError: experts whose linears are replaced by others (quantized, adapters), that have
            parameters besides, or of which some are frozen.
    """

    def __init__(self, experts: Iterable[nn.Module]) -> None:
        super().__init__()
        experts = list(experts)
        self.count = len(experts)
        for expert in experts:
            check_plain(expert)
        empty = copy.deepcopy(experts[0]).to("meta")
        self._empty = (empty,)  # in a tuple it is no child: what an expert is made of again
        self.expert = copy.deepcopy(empty).train(experts[0].training)
        for name in linears_of(empty):
            layers = [expert.get_submodule(name) for expert in experts]
            self.expert.set_submodule(name, StackedLinear(layers))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.count

    def way(self, x: torch.Tensor, rows: int) -> Way:
        """How the experts of so many rows are multiplied.

        "counted": each multiplies its rows in turn; the host must know how many those are, which
        on a CPU costs nothing. "gathered", elsewhere and in a graph: each of a few rows gets a copy
        of its expert's weight. "grouped": rows are sorted and go through torch's product of groups.
        That has a kernel for bfloat16 only; for other types a device is waited for and counted, and
        a graph has "masked": every expert multiplies all rows.
        """
        if processor.can_read(x):
            return "counted"
        if rows <= MOST_GATHERED:
            return "gathered"
        dtype = next(self.expert.parameters()).dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        if dtype == torch.bfloat16 and x.device.type != "mps":
            return "grouped"
        return "masked" if torch.compiler.is_compiling() else "counted"

    def forward(self, x: torch.Tensor, routing: Routing, inside: bool = False) -> torch.Tensor:
        """Send each token to its experts and add up what they give.

        Args:
            x (Tensor): [n, d]
            routing: of these tokens.
            inside: see `MixtureOfExperts`.

        Returns:
            [n, d], added up in float32 and given in x's dtype
        """
        k, chosen = routing.chosen.shape[1], routing.chosen.flatten()
        way, order = self.way(x, chosen.shape[0]), None
        if way != "gathered":
            chosen, order = chosen.sort(stable=True)
        counts = count_of(chosen, self.count)
        shares = Shares(way, chosen, counts, counts.tolist() if way == "counted" else [])
        stacks = [each for each in self.expert.modules() if isinstance(each, StackedLinear)]
        for each in stacks:
            each.shares = shares
        if order is None:
            rows = x.repeat_interleave(k, 0)
        else:
            rows = x.index_select(0, order // k)
        if inside:
            factors = routing.weights.flatten()
            factors = factors if order is None else factors[order]
            rows = (rows * factors[:, None]).to(x.dtype)
        parts = self.expert(rows)
        if order is not None:
            parts = parts.index_select(0, order.argsort())
        for each in stacks:
            each.shares = None
        weights = routing.weights.float()[:, None]
        if inside:
            weights = torch.ones_like(weights)
        return (weights @ parts.unflatten(0, (-1, k)).float())[:, 0].to(x.dtype)

    def unstacked(self) -> Iterator[nn.Module]:
        """The experts as they were, with copies of their weights."""
        for number in range(self.count):
            expert = copy.deepcopy(self._empty[0]).train(self.training)
            for name in linears_of(expert):
                stack, layer = self.expert.get_submodule(name), expert.get_submodule(name)
                assert isinstance(stack, StackedLinear) and isinstance(layer, Linear)
                layer.weight = _slice(stack.weight, number)
                if stack.bias is not None:
                    layer.bias = _slice(stack.bias, number)
            yield expert


def count_of(chosen: torch.Tensor, experts: int) -> torch.Tensor:
    """How often each expert is chosen, int64 [experts]. `bincount` waits for a device, this not."""
    flat = chosen.flatten()
    zeros = torch.zeros(experts, dtype=torch.long, device=flat.device)
    return zeros.scatter_add(0, flat, torch.ones_like(flat))


def linears_of(expert: nn.Module) -> list[str]:
    """Paths of an expert's linears."""
    return [name for name, layer in expert.named_modules() if type(layer) is Linear]


def check_plain(expert: nn.Module) -> None:
    """Refuse an expert whose parameters and buffers are not all those of plain linears.

    Raises:
        ModelError: naming one that is not.
    """
    held = {f"{name}.{leaf}" for name in linears_of(expert) for leaf in ("weight", "bias")}
    for name in expert.state_dict():
        if name not in held:
            raise ModelError(
                f"experts with {name} cannot be stacked",
                fix="stack the experts of a dense model, before adapters are added",
            )


def _stack(tensors: list[nn.Parameter]) -> nn.Parameter:
    learns = {each.requires_grad for each in tensors}
    if len(learns) > 1:
        raise ModelError("experts of which some are frozen cannot be stacked")
    return nn.Parameter(torch.stack([each.detach() for each in tensors]), learns.pop())


def _slice(stack: nn.Parameter, number: int) -> nn.Parameter:
    return nn.Parameter(stack.detach()[number].clone(), stack.requires_grad)
