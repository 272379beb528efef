"""Picking the next token of each row from its logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tfcli.errors import WorkError
from tfcli.generation.filters import (
    NEVER,
    keep_epsilon,
    keep_eta,
    keep_min_p,
    keep_top_h,
    keep_top_p,
    keep_typical,
)

Pick = Callable[[torch.Tensor], torch.Tensor]
"""Logits [b, vocab] -> the picked tokens, int64 [b]."""

_NUMBERS = (1 << 64) - 1
"""torch takes seeds of 64 bits."""
_COLDEST, _HOTTEST = 1e-30, 1e30
"""Temperatures beyond which nothing changes: float32 has numbers for quotients up to here."""


@dataclass(frozen=True)
class Draw:
    """How tokens are drawn, under transformers' names.

    Args:
        temperature: divides the logits; above 0.
        top_k: of so many of the likeliest; 0 or None of all. The others' None keeps all too, and
            so do 1 of probabilities together, and 0 of single ones'.
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
        # The largest logit is taken off first: near temperature 0 the quotient would overflow.
        near = logits.float() - logits.float().amax(-1, keepdim=True)
        scaled = near / min(max(self.temperature, _COLDEST), _HOTTEST)
        if self.top_h is not None and self.top_h < 1:
            scaled = keep_top_h(scaled, self.top_h)
        if not self.top_k:
            return self._filtered(scaled)
        # What follows looks at few tokens then, and not at a vocabulary.
        kept = scaled.topk(min(self.top_k, scaled.shape[-1]))
        few = self._filtered(kept.values)
        return torch.full_like(scaled, NEVER).scatter(-1, kept.indices, few)

    def _filtered(self, scaled: torch.Tensor) -> torch.Tensor:
        """What follows on top_k: float32 [..., n] -> the same, -inf of those that go."""
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
            draw_from(row, generator) for row, generator in zip(likely, generators, strict=True)
        ]
        return torch.tensor(drawn, device=logits.device)

    return pick


def draw_from(likely: torch.Tensor, generator: torch.Generator) -> int:
    """Draw one token: the one at a random height of the summed probabilities.

    torch.multinomial has a random number for each token, which takes as long as a layer.

    Args:
        likely (Tensor): [vocab], probabilities up to a factor, on the CPU.
        generator: of the draw, which takes one number of it.
    """
    sums = likely.double().cumsum(-1)
    whole = float(sums[-1])
    height = float(torch.rand((), dtype=torch.float64, generator=generator)) * whole
    # Never the whole: above it there is no token.
    height = min(height, math.nextafter(whole, 0.0))
    return int(torch.searchsorted(sums, height, right=True))


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
