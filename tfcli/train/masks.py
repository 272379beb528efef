"""Which tokens of a row a masked language model is to find, and what stands in their places.

Devlin et al. 2019, with whole words as in its later release, and spans as in Joshi et al. 2020
(SpanBERT).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

Word = Sequence[int]
"""The places of a word's tokens in a row."""

MASKED, REPLACED = 0.8, 0.1
"""The shares of the chosen tokens that are masked, and that are another token; the rest stays."""
LONGEST_SPAN, STOP = 10, 0.2
"""Words of a span: so many at most, and the probability that one ends after each."""


@dataclass(frozen=True)
class Masker:
    """Hides tokens.

    Args:
        unit: what is chosen at once: `tokens`, `words` or `spans`.
        share: of a row's tokens, that are chosen; at least one is.
        mask: id of the mask token.
        vocabulary: tokens of which others are drawn.
    """

    unit: str
    share: float
    mask: int
    vocabulary: int

    def hide(
        self, ids: Sequence[int], words: Sequence[Word], seed: int
    ) -> tuple[list[int], list[int]]:
        """A row with some tokens hidden.

        Args:
            ids: of the row.
            words: those of its text; what is in none, as special tokens, is never chosen.
            seed: equal seeds hide the same.

        Returns:
            the ids with what stands for the chosen ones, and the chosen places in order
        """
        chance = random.Random(seed)
        found = list(ids)
        places = sorted(self._chosen(words, chance))
        for place in places:
            fate = chance.random()
            if fate < MASKED:
                found[place] = self.mask
            elif fate < MASKED + REPLACED:
                found[place] = chance.randrange(self.vocabulary)
        return found, places

    def _chosen(self, words: Sequence[Word], chance: random.Random) -> set[int]:
        """The places that are to be found: as many as the share says, but that a word is whole."""
        if self.unit == "tokens":
            words = [(place,) for word in words for place in word]
        wanted = max(1, round(self.share * sum(map(len, words))))
        chosen: set[int] = set()
        for first in chance.sample(range(len(words)), len(words)):
            span = words[first : first + (self._length(chance) if self.unit == "spans" else 1)]
            for word in span:
                # Words are whole, so the last one may be one too many; a row needs one at least.
                if not chosen or len(chosen.union(word)) <= wanted:
                    chosen.update(word)
            if len(chosen) >= wanted:
                break
        return chosen

    @staticmethod
    def _length(chance: random.Random) -> int:
        """Words of a span, geometrically distributed."""
        length = 1
        while length < LONGEST_SPAN and chance.random() >= STOP:
            length += 1
        return length
