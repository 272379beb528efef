"""How far a text is with the words that it must have."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.errors import WorkError

Word = tuple[tuple[int, ...], ...]
"""Sequences of ids of which one must come."""


class Progress:
    """The words that a text has so far. It works on one word at a time, and begins that word anew
    where another token comes between.

    Args:
        words: all that must come, in any order.
        ids: the text.
    """

    def __init__(self, words: Sequence[Word], ids: Sequence[int] = ()) -> None:
        self._longest = max(map(_height, words))
        self._done = 0
        self._waiting = list(words)
        self._word: Word | None = None
        self._at: tuple[int, ...] = ()
        for token in ids:
            self._add(token)

    @property
    def complete(self) -> bool:
        """Whether all words came."""
        return self._word is None and not self._waiting

    @property
    def steps(self) -> int:
        """How far it is: each word counts as much as the longest one, and one that has begun by
        how little of it is left."""
        left = self._longest if self._word is None else _height(self._word) - len(self._at)
        return self._done * self._longest + self._longest - left

    @property
    def next_tokens(self) -> list[int]:
        """The ids that bring it further."""
        if self._word is not None:
            return _after(self._word, self._at)
        return [token for word in self._waiting for token in _after(word, ())]

    def _add(self, token: int) -> None:
        if self._word is None:
            found = (word for word in self._waiting if token in _after(word, ()))
            self._word = next(found, None)
            if self._word is None:
                return
            self._waiting.remove(self._word)
            self._at = ()
        elif token not in _after(self._word, self._at):
            self._waiting.append(self._word)
            self._word = None
            return
        self._at = (*self._at, token)
        if self._at in self._word:
            self._done, self._word = self._done + 1, None


def checked_word(ways: Sequence[tuple[int, ...]]) -> Word:
    """A word, of which no way begins with another one: it would never come.

    Raises:
        WorkError: names the one.
    """
    for way in ways:
        if any(other != way and other[: len(way)] == way for other in ways):
            raise WorkError(
                f"force_words: the ids {list(way)} begin another way to say the word",
                where="force_words",
                fix="leave out the longer one",
            )
    return tuple(dict.fromkeys(ways))


def _height(word: Word) -> int:
    return max(map(len, word))


def _after(word: Word, begun: tuple[int, ...]) -> list[int]:
    """The ids that go on from what has begun, each once."""
    size = len(begun)
    return list(dict.fromkeys(way[size] for way in word if way[:size] == begun and len(way) > size))
