"""Sliding windows: every token that has a context is scored once, with what stands before it.

Windows are parts of a text's own tokens; what the tokenizer puts before a text, such as a BOS,
stands before them and is not scored. The windows of a document start at 0, stride, 2 * stride, ...
and the last one ends with the document. A window scores the tokens that the window before it did
not reach. With nothing before a window, its first token has no context.
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
        begins: whether the tokenizer's prefix stands before it.
    """

    document: int
    start: int
    end: int
    scored: int
    begins: bool = False

    @property
    def length(self) -> int:
        """Tokens of the document that the model sees."""
        return self.end - self.start


@dataclass(frozen=True)
class Plan:
    """How documents are cut.

    Args:
        window: tokens at once.
        stride: from one start to the next, at most `window`.
        prefix: tokens that the tokenizer puts before a text. They stand before a document's first
            window and count into its length.
        each: they stand before every other window too,
        inside: and count into its length there, so that no window is longer than `window`.
        full: a document's last window reaches back, so that it is as long as those before it.
    """

    window: int
    stride: int
    prefix: int = 0
    each: bool = False
    inside: bool = False
    full: bool = False

    @property
    def step(self) -> int:
        """The stride, shortened where a prefix in every window would leave tokens out."""
        return min(self.stride, self.window - self.prefix) if self._replaces else self.stride

    @property
    def _replaces(self) -> bool:
        """Whether the prefix stands in the place of context."""
        return self.each and self.inside


def plan_windows(lengths: Sequence[int], plan: Plan) -> list[Window]:
    """The windows of documents of these lengths, without those that score nothing."""
    found = []
    for document, length in enumerate(lengths):
        done = 0
        for at in range(0, length + plan.prefix, plan.step):
            # Counted in the document with its prefix, as a model that reads it whole does.
            start = at if plan._replaces else at - plan.prefix
            end = min(at - plan.prefix + plan.window, length)
            if plan.full and end == length:
                start = min(start, end - plan.window + plan.prefix * plan._replaces)
            start = max(0, start)
            begins = plan.prefix > 0 and (at == 0 or plan.each)
            done = max(done, start if begins else start + 1)
            if done < end:
                found.append(Window(document, start, end, end - done, begins))
                done = end
            if end == length:
                break
    return found


def unscored(lengths: Sequence[int], windows: Sequence[Window]) -> dict[int, list[int]]:
    """document -> its tokens that no window scores, where there are any."""
    left: dict[int, list[int]] = {}
    done = [0] * len(lengths)
    for window in windows:
        first = window.end - window.scored
        left.setdefault(window.document, []).extend(range(done[window.document], first))
        done[window.document] = window.end
    for document, length in enumerate(lengths):
        left.setdefault(document, []).extend(range(done[document], length))
    return {document: tokens for document, tokens in left.items() if tokens}


def batches(windows: Sequence[Window], batch_size: int) -> Iterator[list[Window]]:
    """Group windows of one shape, so that nothing is padded and scores do not depend on it."""

    def shape(window: Window) -> tuple[int, int, bool]:
        return window.length, window.scored, window.begins

    for _, group in groupby(sorted(windows, key=shape, reverse=True), key=shape):
        alike = list(group)
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]
