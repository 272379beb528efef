"""One answer: what has been told of it, and how many tokens it took."""

from __future__ import annotations

from collections.abc import Iterable

from tfcli.serve.ask import Piece
from tfcli.serve.tools.telling import Said, Telling


class Answer:
    """Tells an answer, and remembers what it told.

    Args:
        telling: of its parts.

    Attributes:
        said: all that was told.
        written: tokens of it.
        thought: those of its thoughts.
    """

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self.said = Said()
        self.written = self.thought = 0

    def push(self, piece: Piece) -> Said:
        """What can be told with another piece."""
        self.written += len(piece.tokens)
        before = self._telling.thinks
        found = self._added(self._telling.push(piece.text))
        if before or self._telling.thinks or found.thoughts:
            self.thought += len(piece.tokens)
        return found

    def finish(self) -> Said:
        """What was held back, and the calls."""
        return self._added(self._telling.finish())

    def whole(self, pieces: Iterable[Piece]) -> Said:
        """All of an answer that is made."""
        for piece in pieces:
            self.push(piece)
        self.finish()
        return self.said

    def _added(self, new: Said) -> Said:
        old = self.said
        self.said = Said(old.thoughts + new.thoughts, old.words + new.words, old.calls + new.calls)
        return new
