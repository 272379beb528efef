"""Turns of gpt-oss, each part of which says the channel that it goes to (OpenAI's harmony).

A part is a header, `<|message|>` and what it says, up to a mark that ends it; `<|start|>` begins
the next one. The analysis channel has thoughts. What is for `functions.NAME` is a call, and all
else is said to the user.
"""

from __future__ import annotations

from tfcli.generation.ending import Ending
from tfcli.serve.tools.families import Call, CallForm
from tfcli.serve.tools.telling import Said, Telling

_MESSAGE = "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")


class Channels(Telling):
    """A turn of several parts.

    Args:
        form: of calls; None: none are looked for, and one is said as it is.
        several: see `Turn`.
    """

    def __init__(self, form: CallForm | None, *, several: bool = True) -> None:
        self._form, self._several = form, several
        self._held = ""  # what is not told yet of the text
        self._header = ""
        self._inside = False  # after the header
        self._end = Ending(_ENDS)
        self._message = ""  # what a call says
        self._calls: list[Call] = []

    @property
    def thinks(self) -> bool:
        return self._inside and self._goes_to == "thoughts"

    def push(self, piece: str) -> Said:
        self._held += piece
        thoughts, words = "", ""
        while self._inside or _MESSAGE in self._held:
            if not self._inside:
                self._header, _, self._held = self._held.partition(_MESSAGE)
                self._inside, self._end = True, Ending(_ENDS)
            text, self._held = self._held, ""
            said = self._told(self._end.push(text))
            thoughts, words = thoughts + said.thoughts, words + said.words
            if not self._end.ended:
                break
            said = self._ended()
            words += said.words
            self._held = self._end.rest
        return Said(thoughts, words)

    def finish(self) -> Said:
        if not self._inside:
            return Said(calls=self._found())
        said = self._told(self._end.finish())
        words = said.words + self._ended().words
        return Said(said.thoughts, words, self._found())

    @property
    def _goes_to(self) -> str:
        """Where a part goes, by its header: a call, thoughts or words."""
        if self._form is not None and self._form.marks[0] in self._header:
            return "call"
        return "thoughts" if "<|channel|>analysis" in self._header else "words"

    def _told(self, text: str) -> Said:
        """What comes to the part that is open."""
        if self._goes_to == "call":
            self._message += text
            return Said()
        return Said(text) if self._goes_to == "thoughts" else Said(words=text)

    def _ended(self) -> Said:
        """The part has ended; what is no call after all is words."""
        words = ""
        if self._goes_to == "call":
            assert self._form is not None
            found = self._form.read(f"{self._header}{_MESSAGE}{self._message}")
            self._calls += found
            words = "" if found else self._message
        self._inside, self._message = False, ""
        return Said(words=words)

    def _found(self) -> tuple[Call, ...]:
        return tuple(self._calls if self._several else self._calls[:1])
