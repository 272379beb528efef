"""Picking the next token of each row from its logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tfcli.errors import WorkError
from tfcli.generation.filters import (
    keep_epsilon,
    keep_eta,
    keep_min_p,
    keep_top_h,
    keep_top_k,
    keep_top_p,
    keep_typical,
)

Pick = Callable[[torch.Tensor], torch.Tensor]
"""Logits [b, vocab] -> the picked tokens, int64 [b]."""

_NUMBERS = (1 << 64) - 1
"""torch takes seeds of 64 bits."""


@dataclass(frozen=True)
class Draw:
    """How tokens are drawn, under transformers' names.

    Args:
        temperature: divides the logits; above 0.
        top_k: see `filters.keep_top_k`; 0 or None keeps all. So do the others' None, and 1 of
            probabilities together, and 0 of single ones'.
        top_h, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff: see `filters`.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    top_h: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None

    def warped(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the tokens that may be drawn, -inf of the others; in transformers' order.

        Args:
            logits (Tensor): [..., vocab]

        Returns:
            float32 [..., vocab], whose softmax is what is drawn from
        """
        # The largest logit is taken off first: near temperature 0 the quotient would overflow, and
        # in float32 a temperature below 1e-45 is 0.
        wide = logits.double()
        scaled = ((wide - wide.amax(-1, keepdim=True)) / self.temperature).float()
        if self.top_h is not None and self.top_h < 1:
            scaled = keep_top_h(scaled, self.top_h)
        if self.top_k:
            scaled = keep_top_k(scaled, self.top_k)
        if self.top_p is not None and self.top_p < 1:
            scaled = keep_top_p(scaled, self.top_p)
        if self.min_p:
            scaled = keep_min_p(scaled, self.min_p)
        if self.typical_p is not None and self.typical_p < 1:
            scaled = keep_typical(scaled, self.typical_p)
        if self.epsilon_cutoff:
            scaled = keep_epsilon(scaled, self.epsilon_cutoff)
        if self.eta_cutoff:
            scaled = keep_eta(scaled, self.eta_cutoff)
        return scaled

    def kept(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits divided by the temperature, -inf of the tokens that may not be drawn: as `warped`,
        with the largest one left in."""
        left_out = self.warped(logits) == -math.inf
        return (logits.float() / self.temperature).masked_fill(left_out, -math.inf)

    def distribution(self, logits: torch.Tensor) -> torch.Tensor:
        """The probabilities that tokens are drawn with: float32 [..., vocab], sums to 1."""
        return self.warped(logits).softmax(-1)


def greedy(logits: torch.Tensor) -> torch.Tensor:
    """The likeliest token of each row: [b, vocab] -> [b]."""
    return usable(logits).argmax(-1)


def sampler(draw: Draw, seeds: Sequence[int]) -> Pick:
    """A pick that draws. Each row has a random generator of its own, so that its text does not
    depend on the other rows.

    Args:
        draw: how.
        seeds: of each row; equal seeds give equal draws.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def pick(logits: torch.Tensor) -> torch.Tensor:
        # Drawn on the CPU, so that a seed means the same on every device.
        likely = draw.distribution(usable(logits).cpu())
        drawn = [
            torch.multinomial(row, 1, generator=generator)
            for row, generator in zip(likely, generators, strict=True)
        ]
        return torch.cat(drawn).to(logits.device)

    return pick


def row_seed(seed: int, number: int) -> int:
    """The seed of the text with this number among several of one prompt; the first has the seed
    itself."""
    return (seed + number * 0x9E3779B97F4A7C15) & _NUMBERS


def usable(logits: torch.Tensor) -> torch.Tensor:
    """Refuse NaN and infinity; -inf is what must not come, but something must be left in each row.

    Raises:
        WorkError: says which it is.
    """
    for top in logits.amax(-1).tolist():  # NaN where one of them is
        if top == -math.inf:
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
