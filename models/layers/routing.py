"""Which experts each token goes to, and how much each of them counts."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Routing(NamedTuple):
    """The choice of experts for n tokens.

    Args:
        logits (Tensor): [n, experts], the router's scores, for the loss that balances experts.
        weights (Tensor): [n, k], how much each chosen expert counts, in float32.
        chosen (Tensor): int64 [n, k], the experts.
    """

    logits: torch.Tensor
    weights: torch.Tensor
    chosen: torch.Tensor


class Gate(nn.Module):
    """A small linear map from states to scores.

    No `Linear`: quantization and adapters leave it alone, as they do elsewhere. A score that is
    off sends a token to the wrong expert, and the weights are few.

    Args:
        hidden_size: d.
        scores: how many.
        bias: whether scores have one.
    """

    def __init__(self, hidden_size: int, scores: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(scores, hidden_size))
        self.bias = nn.Parameter(torch.zeros(scores)) if bias else None

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [..., d] -> [..., scores]"""
        return F.linear(x, self.weight, self.bias)


class SoftmaxRouter(Gate):
    """The k experts of the highest probability (Shazeer et al. 2017; Mixtral, 2024).

    Args:
        hidden_size: d.
        experts: how many there are.
        k: how many a token goes to.
        normalize: scale the chosen probabilities to sum to 1. That is also the softmax over the
            chosen scores alone.
        bias: whether scores have one.
    """

    def __init__(
        self, hidden_size: int, experts: int, k: int, *, normalize: bool, bias: bool = False
    ) -> None:
        super().__init__(hidden_size, experts, bias)
        self.k = k
        self.normalize = normalize

    def forward(self, x: torch.Tensor) -> Routing:
        """x (Tensor): [n, d]"""
        logits = self.scores(x)
        weights, chosen = logits.float().softmax(-1).topk(self.k, dim=-1)
        if self.normalize:
            weights = weights / weights.sum(-1, keepdim=True)
        return Routing(logits, weights, chosen)


class GroupedRouter(Gate):
    """DeepSeek's routers (2024, V2 section 2.1.2 and V3 section 2.1.2), in float32 throughout.

    Scores are sigmoids, or the softmax. A bias that balances the load without a loss moves the
    choice and not the weights. Experts come in groups of neighbours; the best of each group speak
    for it, and only experts of the best groups can be chosen.

    Args:
        hidden_size: d.
        experts: how many there are, a multiple of `groups`.
        k: how many a token goes to.
        groups: how many groups.
        kept_groups: how many of them a token can go to.
        normalize: scale the chosen scores to sum to 1.
        scale: factor on the weights.
        softmax: scores are the softmax, as in V2.
        balanced: there is the bias, as in V3.
        speakers: so many of a group speak for it.
    """

    def __init__(
        self,
        hidden_size: int,
        experts: int,
        k: int,
        *,
        groups: int = 1,
        kept_groups: int = 1,
        normalize: bool,
        scale: float = 1.0,
        softmax: bool = False,
        balanced: bool = True,
        speakers: int = 2,
    ) -> None:
        super().__init__(hidden_size, experts)
        self.k, self.groups, self.kept_groups = k, groups, kept_groups
        self.normalize, self.scale = normalize, scale
        self.softmax, self.speakers = softmax, speakers
        # A buffer: training moves it by the load of each expert, not by a gradient. It keeps
        # float32 where the weights are bfloat16.
        self.e_score_correction_bias: torch.Tensor | None
        bias = torch.zeros(experts, dtype=torch.float32) if balanced else None
        self.register_buffer("e_score_correction_bias", bias)

    def forward(self, x: torch.Tensor) -> Routing:
        """x (Tensor): [n, d]"""
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.weight.float())
        scores = logits.softmax(-1) if self.softmax else logits.sigmoid()
        bias = self.e_score_correction_bias
        chosen = self.choose(scores if bias is None else scores + bias.float())
        weights = scores.gather(1, chosen)
        if self.normalize:
            weights = self.normalized(weights)
        return Routing(logits, weights * self.scale, chosen)

    def normalized(self, weights: torch.Tensor) -> torch.Tensor:
        """The chosen scores [n, k], to sum to 1."""
        return weights / (weights.sum(-1, keepdim=True) + 1e-20)

    def choose(self, ranked: torch.Tensor) -> torch.Tensor:
        """The best experts of the best groups. ranked (Tensor): [n, experts] -> int64 [n, k]"""
        if self.kept_groups < self.groups:
            grouped = ranked.unflatten(1, (self.groups, -1))
            spoken = grouped.topk(self.speakers, dim=-1).values.sum(-1)
            best = spoken.topk(self.kept_groups, dim=-1).indices
            hidden = torch.ones(grouped.shape[:2], dtype=torch.bool, device=ranked.device)
            hidden.scatter_(1, best, False)
            ranked = grouped.masked_fill(hidden[:, :, None], float("-inf")).flatten(1)
        return ranked.topk(self.k, dim=-1).indices


class SigmoidRouter(Gate):
    """The k experts of the highest scores, whose sigmoids are the weights (Llama 4).

    Args:
        hidden_size: d.
        experts: how many there are.
        k: how many a token goes to.
    """

    def __init__(self, hidden_size: int, experts: int, k: int) -> None:
        super().__init__(hidden_size, experts)
        self.k = k

    def forward(self, x: torch.Tensor) -> Routing:
        """x (Tensor): [n, d]"""
        logits = self.scores(x)
        best, chosen = logits.topk(self.k, dim=-1)
        return Routing(logits, best.float().sigmoid(), chosen)


def load_balance(
    router_logits: list[torch.Tensor], k: int, padding: torch.Tensor | None = None
) -> torch.Tensor:
    """How unevenly experts are used: k where the use is even, more where it is not.

    The fraction of tokens that an expert gets times its mean probability, summed over experts and
    times their number (Fedus et al. 2021, "Switch Transformers", equations 4 to 6), over the
    tokens of all layers together, as transformers has it.

    Args:
        router_logits (list[Tensor]): each layer's, [b * s, experts].
        k: experts of a token.
        padding (Tensor): [b, s] of 0/1, or None where nothing is padded.

    Returns:
        []
    """
    tokens, experts = router_logits[0].shape
    device = router_logits[0].device
    real = torch.ones(tokens, device=device) if padding is None else padding.flatten().float()
    used, likely = torch.zeros(2, experts, device=device).unbind()
    for logits in router_logits:  # one by one: a stack would hold all probabilities twice
        probabilities = logits.float().softmax(-1)
        chosen = probabilities.topk(k, dim=-1).indices
        used = used.scatter_add(0, chosen.flatten(), real.repeat_interleave(k))
        likely = likely + real @ probabilities
    count = real.sum() * len(router_logits)
    return experts * (used / count * (likely / count)).sum()
