"""Thoughts and words of a turn, told apart while they come."""

from __future__ import annotations

from tfcli.generation.ending import Ending
from tfcli.serve.tools.manner import Thinking


class Thoughts:
    """Divides a text that may begin with thoughts between two marks.

    Args:
        marks: around them; None: there are none, and everything is words.
        opened: the prompt has written the first mark.

    Attributes:
        thinks: whether what comes now is thoughts.
    """

    def __init__(self, marks: Thinking | None, opened: bool) -> None:
        self._marks = marks
        self.thinks = opened and marks is not None
        self._known = opened or marks is None  # whether the text begins with thoughts
        self._held = ""  # what may be the first mark
        self._end = Ending([] if marks is None else [marks.end])
        self._trimmed, self._after = Trimmed(), False

    def push(self, piece: str) -> tuple[str, str]:
        """The thoughts and the words that can be told."""
        if not self._known:
            piece = self._first(piece)
        if not self.thinks:
            return "", self._words(piece)
        thoughts = self._trimmed.push(self._end.push(piece))
        if not self._end.ended:
            return thoughts, ""
        self.thinks, self._after = False, True
        return thoughts, self._words(self._end.rest)

    def finish(self) -> tuple[str, str]:
        """What was held back."""
        thoughts = self._trimmed.push(self._end.finish()) if self.thinks else ""
        held, self._held = self._held, ""
        return thoughts, held

    def _first(self, piece: str) -> str:
        """The text from where it is known what it begins with; nothing before that."""
        assert self._marks is not None
        text = self._held + piece
        begun, begin = text.lstrip(), self._marks.begin
        if len(begun) < len(begin) and begin.startswith(begun):
            self._held = text
            return ""
        self._known, self._held = True, ""
        self.thinks = begun.startswith(begin)
        return begun.removeprefix(begin) if self.thinks else text

    def _words(self, piece: str) -> str:
        """Words without the empty lines that part them from thoughts."""
        if self._after:
            piece = piece.lstrip()
            self._after = not piece
        return piece


class Trimmed:
    """Lets text pass without the spaces around it."""

    def __init__(self) -> None:
        self._spaces, self._begun = "", False

    def push(self, piece: str) -> str:
        """The text up to spaces after which nothing may come."""
        text = self._spaces + piece if self._begun else piece.lstrip()
        passed = text.rstrip()
        self._spaces = text[len(passed) :]
        self._begun = self._begun or bool(passed)
        return passed
