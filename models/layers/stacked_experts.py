"""The experts of a mixture as one: each linear's weights in one stack.

An expert's own forward still says what it computes. Its linears are exchanged for `StackedLinear`,
which multiplies each row by the weight of the row's expert. Nothing has to be read from the device
to know which expert gets how many rows, a layer takes a few launches and not three for each expert,
and a compiler sees one graph.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models import processor
from tfcli.models.errors import ModelError
from tfcli.models.layers.linear import Linear, product
from tfcli.models.layers.routing import Routing

MOST_GATHERED = 64
"""Rows, beyond which weights are not copied for each row. Not measured yet."""


@dataclass
class Shares:
    """Which rows are whose, in the call that runs: what the linears of a mixture share.

    Args:
        experts (Tensor): int64 [rows], the expert of each row.
        ends (Tensor): int32 [experts]: rows are sorted, and each expert's end here. None where
            rows come in any order.
        counts: the same as numbers of rows, where the host may know them.
    """

    experts: torch.Tensor | None = None
    ends: torch.Tensor | None = None
    counts: list[int] | None = None


class StackedLinear(nn.Module):
    """The linears of one name of all experts.

    Args:
        layers: as many as there are experts, each [in, out], with or without a bias.
        shares: of the mixture.

    Attributes:
        weight (Tensor): [experts, out, in]
        bias (Tensor): [experts, out], or None.
    """

    def __init__(self, layers: Sequence[Linear], shares: Shares) -> None:
        super().__init__()
        self.shares = shares
        self.weight = _stack([layer.weight for layer in layers])
        biases = [layer.bias for layer in layers if layer.bias is not None]
        self.bias = _stack(biases) if biases else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [rows, in] -> [rows, out], each row by its expert's weight"""
        shares = self.shares
        assert shares.experts is not None
        if shares.counts is not None:
            return self._one_by_one(x, shares.counts)
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):  # it does not know the grouped product
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        if shares.ends is None:
            out = torch.bmm(weight[shares.experts], x[:, :, None])[:, :, 0]
        else:
            out = F.grouped_mm(x, weight.transpose(1, 2), offs=shares.ends)
        return out if self.bias is None else out + self.bias[shares.experts].to(out.dtype)

    def _one_by_one(self, x: torch.Tensor, counts: list[int]) -> torch.Tensor:
        biases = [None] * len(counts) if self.bias is None else self.bias.unbind()
        parts = zip(x.split(counts), self.weight.unbind(), biases, counts, strict=True)
        return torch.cat([product(rows, w, b) for rows, w, b, count in parts if count])

    def extra_repr(self) -> str:
        experts, outputs, inputs = self.weight.shape
        return f"{experts} x ({inputs}, {outputs}), bias={self.bias is not None}"


class StackedExperts(nn.Module):
    """All experts of a mixture, in the place of their list.

    On a CPU each expert multiplies its rows in turn. On other devices, and in a graph, few rows
    get a copy of their expert's weight each; more are sorted and go through torch's grouped
    product, which has a kernel for bfloat16. For other types torch itself reads the counts.

    Args:
        experts: all alike: modules [n, d] -> [n, d] whose parameters are those of linears.

    Raises:
        ModelError: experts whose linears are replaced by others (quantized, adapters), that have
            parameters besides, or of which some are frozen.
    """

    def __init__(self, experts: Sequence[nn.Module]) -> None:
        super().__init__()
        names = linears_of(experts[0])
        self.count = len(experts)
        self.shares = Shares()
        empty = copy.deepcopy(experts[0]).to("meta")
        self._empty = (empty,)  # in a tuple it is no child: what an expert is made of again
        self.expert = copy.deepcopy(empty).train(experts[0].training)
        for name in names:
            layers = [expert.get_submodule(name) for expert in experts]
            assert all(isinstance(layer, Linear) for layer in layers)
            self.expert.set_submodule(name, StackedLinear(layers, self.shares))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.count

    def forward(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """Send each token to its experts and add up what they give.

        Args:
            x (Tensor): [n, d]
            routing: of these tokens.

        Returns:
            [n, d], added up in float32 and given in x's dtype
        """
        k, chosen = routing.chosen.shape[1], routing.chosen.flatten()
        shares, readable = self.shares, processor.can_read(chosen)
        if not readable and len(chosen) <= MOST_GATHERED:
            shares.experts, shares.ends, shares.counts = chosen, None, None
            parts = self.expert(x.repeat_interleave(k, 0))
        else:
            shares.experts, order = chosen.sort(stable=True)
            counts = count_of(chosen, self.count)
            shares.ends = counts.cumsum(0).to(torch.int32)
            shares.counts = counts.tolist() if readable else None
            parts = self.expert(x.index_select(0, order // k))
            parts = parts.index_select(0, order.argsort())
        shares.experts = shares.ends = shares.counts = None
        weights = routing.weights.float()[:, None]
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
    """Paths of an expert's linears.

    Raises:
        ModelError: it has parameters or buffers that are not those of plain linears.
    """
    names = [name for name, layer in expert.named_modules() if type(layer) is Linear]
    held = {f"{name}.{leaf}" for name in names for leaf in ("weight", "bias")}
    for name in (*(n for n, _ in expert.named_parameters()), *(n for n, _ in expert.named_buffers())):
        if name not in held:
            raise ModelError(
                f"experts with {name} cannot be stacked",
                fix="stack the experts of a dense model, before adapters are added",
            )
    return names


def _stack(tensors: list[nn.Parameter]) -> nn.Parameter:
    learns = {each.requires_grad for each in tensors}
    if len(learns) > 1:
        raise ModelError("experts of which some are frozen cannot be stacked")
    return nn.Parameter(torch.stack([each.detach() for each in tensors]), learns.pop())


def _slice(stack: nn.Parameter, number: int) -> nn.Parameter:
    return nn.Parameter(stack.detach()[number].clone(), stack.requires_grad)
