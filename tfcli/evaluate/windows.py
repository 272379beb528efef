"""Sliding windows: every token but a document's first is scored once, with context before it.

The windows of a document start at 0, stride, 2 * stride, ... and the last one ends with the
document. A window scores the tokens that the window before it did not reach, so each of them has
at least window - stride tokens of context, as far as the document has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Window:
    """A part of a document.

    Args:
        document: its index.
        start: first token that the model sees.
        end: one past the last.
        scored: how many of the last tokens are scored; those before are context.
    """

    document: int
    start: int
    end: int
    scored: int

    @property
    def length(self) -> int:
        """Tokens that the model sees."""
        return self.end - self.start


def plan_windows(lengths: Sequence[int], window: int, stride: int) -> list[Window]:
    """The windows of documents of these lengths.

    Args:
        lengths: tokens of each document.
        window: tokens at once, at least 2.
        stride: from one start to the next, below `window`.
    """
    found = []
    for document, length in enumerate(lengths):
        done = 1  # the first token has nothing to be predicted from
        for start in range(0, length, stride):
            if done >= length:
                break
            end = min(start + window, length)
            found.append(Window(document, start, end, end - done))
            done = end
    return found


def batches(windows: Sequence[Window], batch_size: int) -> Iterator[list[Window]]:
    """Group windows of one shape, so that nothing is padded and scores do not depend on it."""

    def shape(window: Window) -> tuple[int, int]:
        return window.length, window.scored

    for _, group in groupby(sorted(windows, key=shape, reverse=True), key=shape):
        alike = list(group)
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]
