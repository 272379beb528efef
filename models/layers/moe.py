"""Mixtures of experts: each token goes through a few of many feed-forward layers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tfcli.models.context import Context
from tfcli.models.layers.routing import Routing
from tfcli.models.layers.stacked_experts import StackedExperts, count_of


class MixtureOfExperts(nn.Module):
    """The weighted sum of the experts that a router chooses (Shazeer et al. 2017).

    Each expert is a module with linears of its own, so that quantized layers and adapters replace
    them as they do elsewhere.

    Args:
        router: [n, d] -> `Routing`.
        experts: each [n, d] -> [n, d].
        jitter: in training, states are multiplied by random numbers from 1 - jitter to 1 + jitter.
        shared: [b, s, d] -> [b, s, d], what all tokens go through beside their experts, or None.
        shared_name: what checkpoints call it.
        inside: the router's weights multiply what experts are given, not what they give (Llama 4).

    Attributes:
        expert_tokens (Tensor): int64 [experts], the tokens that each expert has got since
            `count_tokens(True)`; None while they are not counted. Not part of the state dict.
    """

    def __init__(
        self,
        router: nn.Module,
        experts: Iterable[nn.Module],
        *,
        jitter: float = 0.0,
        shared: nn.Module | None = None,
        shared_name: str = "shared_experts",
        inside: bool = False,
    ) -> None:
        super().__init__()
        self.gate = router
        self.experts: nn.ModuleList | StackedExperts = nn.ModuleList(experts)
        self.add_module(shared_name, shared)
        self.shared_name = shared_name
        self.jitter, self.inside = jitter, inside
        self.expert_tokens: torch.Tensor | None = None

    def count_tokens(self, enabled: bool) -> None:
        """Begin to count the tokens of each expert from 0, or stop and forget them."""
        self.expert_tokens = torch.zeros(len(self.experts), dtype=torch.long) if enabled else None

    @property
    def reads(self) -> tuple[str, ...] | None:
        """See `folding`: the router, and what every expert reads."""
        parts: dict[str, nn.Module] = {}
        if isinstance(self.experts, nn.ModuleList):
            parts = {f"experts.{name}": expert for name, expert in self.experts.named_children()}
        shared = getattr(self, self.shared_name)
        if shared is not None:
            parts[self.shared_name] = shared
        found = ["gate"]
        for name, part in parts.items():
            inner = getattr(part, "reads", None)
            if inner is None:
                return None
            found += [f"{name}.{linear}" for linear in inner]
        return tuple(found) if isinstance(self.experts, nn.ModuleList) else None

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]. Padding is routed like any token."""
        if self.training and self.jitter > 0:
            x = x * torch.empty_like(x).uniform_(1 - self.jitter, 1 + self.jitter)
        rows = x.flatten(0, -2)
        routing: Routing = self.gate(rows)
        if context.first_time(self):
            self.record(routing, context)
        if isinstance(self.experts, StackedExperts):
            mixed = self.experts(rows, routing, self.inside).view_as(x)
        else:
            mixed = mix(rows, routing, self.experts, self.inside).view_as(x)
        shared = getattr(self, self.shared_name)
        return mixed if shared is None else mixed + shared(x)

    def record(self, routing: Routing, context: Context) -> None:
        """Keep of a routing what was asked for."""
        if context.router_logits is not None:
            context.router_logits.append(routing.logits)
        if self.expert_tokens is not None:
            counts = count_of(routing.chosen, len(self.experts))
            self.expert_tokens = self.expert_tokens.to(counts.device) + counts


def mix(
    x: torch.Tensor, routing: Routing, experts: nn.ModuleList, inside: bool = False
) -> torch.Tensor:
    """Send each token to its experts and add up what they give.

    Tokens are sorted by expert, so that each expert runs once, on all of its rows. The host has to
    know how many those are: on a device that is one wait a layer, and a compiler breaks its graph
    there. `stack_experts` takes both away.

    Args:
        x (Tensor): [n, d]
        routing: of these tokens.
        experts: each [n, d] -> [n, d].
        inside: see `MixtureOfExperts`.

    Returns:
        [n, d], added up in float32 and given in x's dtype
    """
    if torch.compiler.is_exporting():
        return _mix_in_graph(x, routing, experts, inside)
    weights, chosen = routing.weights, routing.chosen
    count, k = chosen.shape
    learning = torch.is_grad_enabled()
    if count == 1 and not learning:  # one new token: nothing to sort
        given = (x * weights.t()).to(x.dtype) if inside else x.expand(k, -1)
        pairs = zip(chosen[0].tolist(), given.split(1), strict=True)
        parts = torch.cat([experts[expert](row) for expert, row in pairs]).float()
        return (parts.sum(0, keepdim=True) if inside else weights.float() @ parts).to(x.dtype)
    flat = chosen.flatten()
    order = flat.argsort()
    shares = count_of(flat, len(experts)).tolist()
    tokens, weights = (order // k).split(shares), weights.flatten()[order, None].split(shares)
    # Gathered at once, the rows have one gradient; one by one they stay in the processor's cache.
    rows = x.index_select(0, order // k).split(shares) if learning else None
    out = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    for number, (expert, at, weight) in enumerate(zip(experts, tokens, weights, strict=True)):
        # An expert without a token is left out. When learning it runs on no rows instead, for a
        # gradient of zeros: data-parallel training waits for one of every parameter.
        if rows is not None:
            out.index_add_(0, at, _weighed(expert, rows[number], weight, inside))
        elif len(at):
            out.index_add_(0, at, _weighed(expert, x.index_select(0, at), weight, inside))
    return out.to(x.dtype)


def _weighed(
    expert: nn.Module, x: torch.Tensor, weight: torch.Tensor, inside: bool
) -> torch.Tensor:
    """What an expert gives for rows [n, d] of weights [n, 1], float32 or wider."""
    if inside:
        return expert((x * weight).to(x.dtype)) * torch.ones_like(weight)
    return expert(x) * weight


def _mix_in_graph(
    x: torch.Tensor, routing: Routing, experts: nn.ModuleList, inside: bool
) -> torch.Tensor:
    """The same for an exported graph, in which every expert is, also where it gets no token."""
    out = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    for number, expert in enumerate(experts):
        mine = routing.chosen == number
        at = mine.any(-1).nonzero().flatten()
        weight = (routing.weights * mine).sum(-1, keepdim=True).index_select(0, at)
        part = _weighed(expert, x.index_select(0, at), weight, inside)
        out = out.index_add(0, at, part.to(out.dtype))
    return out.to(x.dtype)


def expert_counts(model: nn.Module) -> dict[str, torch.Tensor]:
    """Name of each mixture that counts -> tokens of each of its experts, int64 [experts]."""
    return {
        name: module.expert_tokens
        for name, module in model.named_modules()
        if isinstance(module, MixtureOfExperts) and module.expert_tokens is not None
    }
