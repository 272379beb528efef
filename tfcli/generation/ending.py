"""Texts that end an answer."""

from __future__ import annotations

from collections.abc import Sequence


class Ending:
    """Lets text pass until a stop text comes, which may be made of several pieces.

    Args:
        stops: the texts; what comes from the first of them on is left out.

    Attributes:
        ended: whether one of them came.
        rest: what came after it in the piece that ended it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = self.rest = ""
        self.ended = False

    def push(self, piece: str) -> str:
        """The text that can be shown: what may be the beginning of a stop text is held back."""
        text = self._held + piece
        found = [(at, len(stop)) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, length = min(found)
            self.ended, self._held, self.rest = True, "", text[at + length :]
            return text[:at]
        held = max((self._begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """What was held back and became no stop text."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _begun(text: str, stop: str) -> int:
        """How many of the last characters begin a stop text."""
        lengths = range(min(len(stop) - 1, len(text)), 0, -1)
        return next((length for length in lengths if text.endswith(stop[:length])), 0)
