"""Which tokens may be drawn: pure functions on float32 logits [..., vocab].

Each sets to -inf what it leaves out, and keeps the likeliest token always. transformers' warpers of
the same names are the reference.
"""

from __future__ import annotations

import math

import torch

NEVER = -math.inf


def keep_top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """The k likeliest."""
    kept = logits.topk(min(k, logits.shape[-1]))
    return torch.full_like(logits, NEVER).scatter(-1, kept.indices, kept.values)


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """The likeliest that reach the probability p together (Holtzman et al. 2020).

    A token stays while those before it have less than p.
    """
    ordered, indices = logits.sort(dim=-1, descending=True, stable=True)
    likely = ordered.double().softmax(-1)  # in float32 a large vocabulary's sum drifts
    before = likely.cumsum(-1) - likely
    return _in_order(ordered, indices, before >= p)


def keep_top_h(logits: torch.Tensor, share: float) -> torch.Tensor:
    """The likeliest that have this share of the entropy together, of the hundred likeliest
    (Potraghloo et al. 2025)."""
    kept = logits.topk(min(100, logits.shape[-1]))
    likely = kept.values.log_softmax(-1)
    surprise = -torch.xlogy(likely.exp(), likely.exp())
    reached = surprise.cumsum(-1)
    values = kept.values.masked_fill(reached > share * surprise.sum(-1, keepdim=True), NEVER)
    values[..., 0] = kept.values[..., 0]
    return torch.full_like(logits, NEVER).scatter(-1, kept.indices, values)


def keep_min_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Those that are at least p times as likely as the likeliest (Nguyen et al. 2024)."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(-1, keepdim=True), NEVER)


def keep_typical(logits: torch.Tensor, mass: float) -> torch.Tensor:
    """Those whose surprise is nearest to what is expected, as many as have `mass` together (Meister
    et al. 2022). The likeliest token may be left out; the most typical stays."""
    logarithms = logits.log_softmax(-1)
    probabilities = logarithms.exp()
    entropy = -(logarithms * probabilities).nansum(-1, keepdim=True)
    order = (-logarithms - entropy).abs().argsort(dim=-1, stable=True)
    ordered = logits.gather(-1, order)
    reached = ordered.softmax(-1).cumsum(-1)
    # The one that reaches the mass is the last that stays.
    last = (reached < mass).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    place = torch.arange(logits.shape[-1], device=logits.device)
    return _in_order(ordered, order, place > last)


def keep_epsilon(logits: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Those that are at least so likely (Hewitt et al. 2022)."""
    return _above(logits, torch.tensor(epsilon, device=logits.device))


def keep_eta(logits: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Those that are at least as likely as epsilon, or as its root times e to minus the entropy
    where that is less (Hewitt et al. 2022)."""
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    root = torch.tensor(epsilon, device=logits.device).sqrt()
    least = torch.minimum(torch.tensor(epsilon, device=logits.device), root * (-entropy).exp())
    return _above(logits, least[..., None])


def _above(logits: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    cut = (logits.softmax(-1) < least) & (logits < logits.amax(-1, keepdim=True))
    return logits.masked_fill(cut, NEVER)


def _in_order(ordered: torch.Tensor, places: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    """Logits back where they were, without those that are cut; the first in order always stays."""
    cut = cut.clone()
    cut[..., 0] = False
    return torch.empty_like(ordered).scatter(-1, places, ordered.masked_fill(cut, NEVER))
