"""The whole texts that beams of one prompt have become."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.generation.processors import NEVER
from tfcli.generation.strategies.settings import BeamSettings


class Finished:
    """The best whole texts of a prompt, as many as there are beams at most.

    Args:
        settings: how they are scored.
        limit: new tokens of a text at most.

    Attributes:
        texts: score and new ids of each, the best first.
    """

    def __init__(self, settings: BeamSettings, limit: int) -> None:
        self._settings, self._limit = settings, limit
        self.texts: list[tuple[float, list[int]]] = []

    @property
    def full(self) -> bool:
        """Whether there are as many as there are beams."""
        return len(self.texts) == self._settings.num_beams

    def divisor(self, length: int) -> float:
        """What the sum of log-probabilities is divided by, for a text's score."""
        return float(length**self._settings.length_penalty)

    def add(self, found: Sequence[tuple[float, list[int]]]) -> None:
        """Keep the best of these and of those that there are; of equals the earlier one. What the
        rules exclude is none."""
        allowed = (text for text in found if text[0] > NEVER)
        kept = sorted([*self.texts, *allowed], key=lambda text: -text[0])
        self.texts = kept[: self._settings.num_beams]

    def closed(self, best: float, length: int) -> bool:
        """Whether no beam is to go on.

        Args:
            best: the sum of log-probabilities of the best unfinished beam.
            length: its new tokens.
        """
        if not self.full:
            return False
        if self._settings.early_stopping is True:
            return True
        longest = self._settings.early_stopping == "never" and self._settings.length_penalty > 0
        hoped = best / self.divisor(self._limit if longest else length)
        return hoped <= self.texts[-1][0]
