"""What a model writes in its turn, told apart while it comes: thoughts, words and calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tfcli.serve.tools.calls import Calls
from tfcli.serve.tools.families import Call, CallForm
from tfcli.serve.tools.manner import Thinking
from tfcli.serve.tools.thoughts import Thoughts


@dataclass(frozen=True)
class Said:
    """What has come: thoughts, which are before all words, words, and calls, which end a turn."""

    thoughts: str = ""
    words: str = ""
    calls: tuple[Call, ...] = ()


class Telling(ABC):
    """Tells the parts of one turn apart."""

    @property
    @abstractmethod
    def thinks(self) -> bool:
        """Whether what comes now is thoughts."""

    @abstractmethod
    def push(self, piece: str) -> Said:
        """What can be told with another piece of the text."""

    @abstractmethod
    def finish(self) -> Said:
        """What was held back, and the calls; nothing is pushed after it."""


class Turn(Telling):
    """A turn whose thoughts, if there are any, are between two marks, and calls after the words.

    Args:
        thinking: the marks; None: there are no thoughts.
        form: of calls; None: none are looked for.
        opened: the prompt has begun the thoughts.
        several: there may be more than one call; the others are not told of.
    """

    def __init__(
        self,
        thinking: Thinking | None,
        form: CallForm | None,
        *,
        opened: bool = False,
        several: bool = True,
    ) -> None:
        self._thoughts, self._calls = Thoughts(thinking, opened), Calls(form)
        self._several = several

    @property
    def thinks(self) -> bool:
        return self._thoughts.thinks

    def push(self, piece: str) -> Said:
        thoughts, words = self._thoughts.push(piece)
        return Said(thoughts, self._calls.push(words))

    def finish(self) -> Said:
        thoughts, words = self._thoughts.finish()
        words = self._calls.push(words)
        rest, calls = self._calls.finish()
        return Said(thoughts, words + rest, tuple(calls if self._several else calls[:1]))
