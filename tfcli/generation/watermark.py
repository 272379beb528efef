"""Watermarks that a text's tokens carry: some of all tokens are likelier, and which ones depends on
a key and on the tokens before (Kirchenbauer et al. 2023).

Which tokens are green is what transformers' processor of the same name has on a CPU, whatever the
device, so that either finds the other's watermark.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from tfcli.generation.processors import Process

TABLE = 1_000_003
"""Numbers that token ids are hashed to."""
SEEDS = (1 << 64) - 1
TRIED = 40
"""Where a token's own id says whether it is green, so many of the likeliest are looked at."""


@dataclass(frozen=True)
class Watermark:
    """How a text is marked, under transformers' names.

    Args:
        greenlist_ratio: share of all tokens that are green, above 0 and below 1.
        bias: added to their logits.
        hashing_key: who does not know it finds no mark.
        seeding_scheme: "lefthash": the token before says which are green. "selfhash": so do the
            last ones, the token itself among them.
        context_width: tokens that must come before; those that "selfhash" looks at.
    """

    greenlist_ratio: float = 0.25
    bias: float = 2.0
    hashing_key: int = 15485863
    seeding_scheme: Literal["lefthash", "selfhash"] = "lefthash"
    context_width: int = 1

    def green(self, before: Sequence[int], vocab: int) -> torch.Tensor:
        """The ids that are green after some tokens: int64 [greenlist_ratio * vocab].

        Args:
            before: the ids before; with "selfhash" the id itself comes last.
            vocab: how many tokens there are.
        """
        seed = self.hashing_key * before[-1]
        if self.seeding_scheme == "selfhash":
            last = torch.tensor(before[-self.context_width :]) % TABLE
            hashed = _table(self.hashing_key)[last] + 1
            # The product overflows, in theirs too.
            seed = int((self.hashing_key * hashed * hashed[-1]).min())
        generator = torch.Generator().manual_seed(seed % SEEDS)
        return torch.randperm(vocab, generator=generator)[: int(vocab * self.greenlist_ratio)]

    def green_next(self, before: Sequence[int], logits: torch.Tensor, vocab: int) -> torch.Tensor:
        """The green ones among tokens that may come next. logits (Tensor): [at least vocab]"""
        if self.seeding_scheme == "lefthash":
            return self.green(before, vocab)
        likely = logits.argsort(descending=True)[:TRIED].tolist()
        found = [token for token in likely if self.is_green([*before, token], token, vocab)]
        return torch.tensor(found, dtype=torch.long)

    def is_green(self, before: Sequence[int], token: int, vocab: int) -> bool:
        """Whether a token is. before: see `green`."""
        return bool((self.green(before, vocab) == token).any())


@cache
def _table(key: int) -> torch.Tensor:
    return torch.randperm(TABLE, generator=torch.Generator().manual_seed(key))


def marked(watermark: Watermark, vocab: int) -> Process:
    """The process that marks a text; rows with fewer tokens than the context are left as they are.

    Args:
        watermark: how.
        vocab: the model's tokens.
    """

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        for number, row in enumerate(ids.tolist()):
            text = [token for token in row if token >= 0]
            if row[-1] >= 0 and len(text) >= watermark.context_width:
                green = watermark.green_next(text, logits[number], vocab)
                logits[number, green.to(logits.device)] += watermark.bias
        return logits

    return process


@dataclass(frozen=True)
class Detection:
    """What a text says of a watermark.

    Args:
        tokens: how many were looked at.
        green: how many of them are green.
        z_score: by how many standard deviations these are more than chance has.
        p_value: how likely as many are by chance.
    """

    tokens: int
    green: int
    z_score: float
    p_value: float


def detect(
    ids: Sequence[int], watermark: Watermark, vocab: int, *, repeated: bool = True
) -> Detection:
    """Look for a watermark. A z-score above 3 is taken for one mostly.

    Args:
        ids: of the text, without its prompt and without the token that begins every text.
        watermark: how it was marked, with the same key.
        vocab: the tokens of the model that made it.
        repeated: count the same tokens in a row each time that they come.

    Raises:
        ValueError: the text is too short.
    """
    before = watermark.context_width
    if len(ids) <= before:
        raise ValueError(f"a text of {len(ids)} tokens has none after the first {before}")
    own = watermark.seeding_scheme == "selfhash"
    size = before if own else before + 1
    runs = Counter(tuple(ids[at : at + size]) for at in range(len(ids) - size + 1))
    counts = runs if repeated else Counter(dict.fromkeys(runs, 1))
    green = sum(
        count
        for run, count in counts.items()
        if watermark.is_green(run if own else run[:-1], run[-1], vocab)
    )
    tokens, ratio = counts.total(), watermark.greenlist_ratio
    z_score = (green - ratio * tokens) / math.sqrt(tokens * ratio * (1 - ratio))
    return Detection(tokens, green, z_score, math.erfc(z_score / math.sqrt(2)) / 2)
