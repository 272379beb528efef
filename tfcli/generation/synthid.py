"""SynthID: a watermark that leaves a text's probabilities on average as they are (Dathathri et al.
2024).

The numbers are those of transformers' processor on a CPU; Google's own products hash otherwise. A
text is marked from what it says alone, so that beams and drafts are marked as single texts are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from tfcli.generation.processors import NEVER, Process
from tfcli.generation.watermark import Detection

MULTIPLIER, INCREMENT = 6364136223846793005, 1
"""Of the linear congruential generator that hashes; products overflow."""


@dataclass(frozen=True)
class SynthId:
    """How a text is marked, under transformers' names.

    Args:
        keys: one for each round of the tournament that a token wins.
        ngram_len: tokens that are hashed together, with the one that is marked.
        context_history_size: after tokens that came among so many earlier places, no token is
            marked.
        sampling_table_seed, sampling_table_size: of the table that hashes are looked up in.
        skip_first_ngram_calls: leave the first ngram_len - 1 tokens as they are.
    """

    keys: tuple[int, ...]
    ngram_len: int = 5
    context_history_size: int = 1024
    sampling_table_seed: int = 0
    sampling_table_size: int = 65536
    skip_first_ngram_calls: bool = False

    def values(self, hashes: torch.Tensor) -> torch.Tensor:
        """What is drawn for some tokens in each round, 0 or 1: int64 [n] -> [n, keys]."""
        keys = torch.tensor(self.keys)[None, :, None].expand(len(hashes), -1, 1)
        found = _hashed(hashes[:, None].expand(-1, len(self.keys)), keys)
        return _table(self.sampling_table_seed, self.sampling_table_size)[
            found % self.sampling_table_size
        ]

    def contexts(self, ids: Sequence[int]) -> torch.Tensor:
        """The hashes of what stands before each place that has enough before it: int64 [places]."""
        runs = torch.tensor(ids, dtype=torch.long).unfold(0, self.ngram_len - 1, 1)
        return _hashed(torch.ones(len(runs), dtype=torch.long), runs)

    def marks(self, contexts: torch.Tensor) -> bool:
        """Whether a token is marked after the last of some contexts: it came not lately."""
        earlier = contexts[:-1][-self.context_history_size :]
        return not bool((earlier == contexts[-1]).any())


def _hashed(current: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    """Hashes that go on from others: [...] and [..., numbers] -> [...]."""
    for number in data.unbind(-1):
        current = (current + number) * MULTIPLIER + INCREMENT
    return current


@cache
def _table(seed: int, size: int) -> torch.Tensor:
    return torch.randint(0, 2, (size,), generator=torch.Generator().manual_seed(seed))


def synthid(mark: SynthId, start: torch.Tensor) -> Process:
    """The process that marks new tokens.

    Args:
        mark: how.
        start (Tensor): int64 [b], how many ids each row has before its first new one.
    """
    before = mark.ngram_len - 1

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        found = logits.clone()
        tokens = torch.arange(logits.shape[-1])[:, None]
        for number, (row, begin) in enumerate(zip(ids.tolist(), start.tolist(), strict=True)):
            new = [token for token in row if token >= 0][begin:]
            skipped = before if mark.skip_first_ngram_calls else 0
            if row[-1] < 0 or len(new) < skipped:
                continue
            contexts = mark.contexts([*[0] * before, *new])[skipped:]
            if mark.marks(contexts):
                hashes = _hashed(contexts[-1].expand(len(tokens)), tokens)
                found[number] = _favoured(logits[number], mark.values(hashes).to(logits.device))
        return found

    return process


def _favoured(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Log-probabilities after a tournament in which tokens with a 1 win: [vocab], [vocab, rounds].
    A token that cannot come still cannot."""
    likely = logits.softmax(-1)
    for value in values.unbind(-1):
        likely = likely * (1 + value - (value * likely).sum())
    found = likely.log()
    return found.masked_fill(~found.isfinite(), NEVER)


def detect_synthid(ids: Sequence[int], mark: SynthId) -> Detection:
    """Look for a mark: without one, half of what is drawn for tokens is 1.

    Args:
        ids: of the new tokens of a text, without its prompt.
        mark: how it was marked, with the same keys.

    Returns:
        `tokens` and `green` count what was drawn, one for each key and marked token, and what is 1

    Raises:
        ValueError: the text is too short.
    """
    if len(ids) < mark.ngram_len:
        raise ValueError(f"a text of {len(ids)} tokens has no {mark.ngram_len} in a row")
    contexts = mark.contexts(ids[:-1])
    marked = torch.tensor([mark.marks(contexts[: at + 1]) for at in range(len(contexts))])
    last = torch.tensor(ids[mark.ngram_len - 1 :])[:, None]
    values = mark.values(_hashed(contexts, last))[marked]
    drawn, ones = values.numel(), int(values.sum())
    z_score = (2 * ones - drawn) / math.sqrt(drawn)
    return Detection(drawn, ones, z_score, math.erfc(z_score / math.sqrt(2)) / 2)
