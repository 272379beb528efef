"""A model's words and its calls of tools, told apart while they come."""

from __future__ import annotations

from tfcli.generation.ending import Ending
from tfcli.serve.tools.families import Call, CallForm


class Calls:
    """Lets words pass, and keeps what begins a call until it is whole.

    Args:
        form: of calls; None: everything is words.
    """

    def __init__(self, form: CallForm | None) -> None:
        self._form = form
        self._before = None if self._form is None else Ending(self._form.marks)
        self._text = ""
        self._passed = 0

    def push(self, piece: str) -> str:
        """The words that can be shown."""
        self._text += piece
        if self._before is None:
            return piece
        if self._before.ended:
            return ""
        passed = self._before.push(piece)
        self._passed += len(passed)
        return passed

    def finish(self) -> tuple[str, list[Call]]:
        """What was kept and is no call after all, and the calls."""
        rest = self._text[self._passed :]
        if self._form is None or self._before is None:
            return "", []
        calls = self._form.read(rest) if self._before.ended else []
        return ("", calls) if calls else (rest, [])
