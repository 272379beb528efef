"""Choosing the next token from logits. Pure functions on float32 rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from tfcli.errors import WorkError

Choose = Callable[[torch.Tensor], int]
"""Logits [vocab] -> the chosen token."""


def greedy(logits: torch.Tensor) -> int:
    """The likeliest token. logits (Tensor): [vocab]"""
    return int(_usable(logits).argmax())


def sampler(
    *,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int = 0,
) -> Choose:
    """A function that draws tokens; it carries the state of its own random generator.

    Args:
        temperature: divides the logits; above 0.
        top_k: draw from this many of the likeliest; 0 from all.
        top_p: draw from the smallest set of the likeliest whose probability reaches this; 0 from
            the likeliest alone, 1 from all.
        min_p: draw from those that have this share of the likeliest one's probability.
        seed: equal seeds give equal draws.
    """
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: torch.Tensor) -> int:
        # Drawn on the CPU, so that a seed means the same on every device.
        probabilities = distribution(
            _usable(logits).cpu(), temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
        )
        return int(torch.multinomial(probabilities, 1, generator=generator))

    return choose


def distribution(
    logits: torch.Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> torch.Tensor:
    """The probabilities that tokens are drawn with: temperature, top-k, top-p, then min-p.

    Args:
        logits (Tensor): [vocab]
        temperature: above 0.
        top_k: as in `sampler`.
        top_p: as in `sampler` (nucleus sampling, Holtzman et al. 2020).
        min_p: as in `sampler` (Nguyen et al. 2024).

    Returns:
        float32 [vocab], sums to 1
    """
    # The largest logit is taken off first: near temperature 0 the quotient would overflow, and in
    # float32 a temperature below 1e-45 is 0.
    wide = logits.double()
    scaled = ((wide - wide.max()) / temperature).float()
    if top_k:
        scaled = keep_top_k(scaled, top_k)
    if top_p is not None and top_p < 1:
        scaled = keep_top_p(scaled, top_p)
    if min_p:
        scaled = keep_min_p(scaled, min_p)
    return scaled.softmax(-1)


def keep_top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Set all but the k largest to -inf. logits (Tensor): [vocab]"""
    kept = logits.topk(min(k, logits.shape[-1]))
    return torch.full_like(logits, float("-inf")).scatter(-1, kept.indices, kept.values)


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Set to -inf what the likeliest tokens of probability p leave out. logits (Tensor): [vocab]

    A token stays while those before it have less than p; the likeliest always stays.
    """
    ordered, indices = logits.sort(descending=True, stable=True)
    likely = ordered.double().softmax(-1)  # in float32 a large vocabulary's sum drifts
    before = likely.cumsum(-1) - likely
    cut = before >= p
    cut[0] = False
    return torch.empty_like(logits).scatter(-1, indices, ordered.masked_fill(cut, float("-inf")))


def keep_min_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Set to -inf what is less than p times as likely as the likeliest. logits (Tensor): [vocab]"""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < p * probabilities.max(), float("-inf"))


def _usable(logits: torch.Tensor) -> torch.Tensor:
    """Refuse NaN and infinity; -inf is what must not come, but something must be left."""
    top = float(logits.max())  # NaN where one of them is
    if top == float("-inf"):
        raise WorkError(
            "no token is left to choose: the rules exclude all of them",
            where="generation_config.json",
            fix="leave out a rule, such as no_repeat_ngram_size or suppress_tokens",
        )
    if not math.isfinite(top):
        raise WorkError(
            "the model's predictions are not finite (NaN or infinity)",
            fix="try --dtype float32; if that does not help, the weights are damaged",
        )
    return logits
