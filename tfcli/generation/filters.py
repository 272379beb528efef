"""Which tokens may be drawn: pure functions on float32 logits [..., vocab].

Each sets to -inf what it leaves out, and keeps the likeliest token always. transformers' warpers of
the same names are the reference.
"""

from __future__ import annotations

import math

import torch

NEVER = -math.inf
_FEW = 256
"""The likeliest tokens that are put in order first."""


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """The likeliest that reach the probability p together (Holtzman et al. 2020).

    A token stays while those before it have less than p. Of equally likely ones the first stay.
    """
    vocab = logits.shape[-1]
    total = logits.double().logsumexp(-1, keepdim=True)  # in float32 a large one's sum drifts
    looked_at = _FEW
    while True:  # few tokens reach it as a rule, and to order all takes longer than a small model
        ordered = logits.topk(min(looked_at, vocab)).values
        likely = (ordered.double() - total).exp()
        before = likely.cumsum(-1) - likely
        if looked_at >= vocab or bool((before[..., -1] >= p).all()):
            break
        looked_at *= 16
    count = (before < p).sum(-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, count - 1)
    above, equal = logits > least, logits == least
    of_equal = count - above.sum(-1, keepdim=True)
    return logits.masked_fill(~(above | (equal & (equal.cumsum(-1) <= of_equal))), NEVER)


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
