"""The best spans of a window, as transformers 4's question answering finds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

OUTSIDE = -10000.0
"""The logit of what cannot be part of an answer."""


@dataclass(frozen=True)
class Span:
    """A part of a window: its first and its last token, and how likely it is."""

    first: int
    last: int
    score: float


def best_spans(
    logits: Tensor, allowed: Tensor, *, top_k: int, longest: int
) -> tuple[list[Span], float]:
    """The likeliest spans, and how likely it is that there is none.

    Args:
        logits (Tensor): [s, 2], of the first and of the last token.
        allowed (Tensor): bool [s], the tokens that an answer may begin and end with.
        top_k: spans at most; those that are not allowed are left out of them.
        longest: tokens of a span at most.

    Returns:
        the spans, and the score of none
    """
    scores = logits.double().masked_fill(~allowed[:, None], OUTSIDE)
    chances = (scores - scores.amax(0)).exp()
    starts, ends = (chances / chances.sum(0)).unbind(-1)
    none = float(starts[0] * ends[0])
    starts, ends = starts.clone(), ends.clone()
    starts[0] = ends[0] = 0.0  # the first token stands for none
    spans = torch.outer(starts, ends).triu().tril(longest - 1)
    best = spans.flatten().topk(min(top_k, spans.numel()))
    found = []
    for score, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        first, last = divmod(place, len(logits))
        if allowed[first] and allowed[last]:
            found.append(Span(first, last, score))
    return found, none
