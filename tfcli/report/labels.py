"""Places words beside points so that none lies on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GAP = 10.0
"""Between a point's middle and its label, in drawing units."""


@dataclass(frozen=True)
class Box:
    """A rectangle in drawing units; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area that two boxes share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.right - self.left) * (self.bottom - self.top)

    def moved(self, down: float) -> Box:
        """The same box further down."""
        return Box(self.left, self.top + down, self.right, self.bottom + down)


def text_width(text: str, size: float) -> float:
    """A generous guess: browsers pick the font, and a clipped word is worse than a gap."""
    return len(text) * size * 0.6


@dataclass(frozen=True)
class Label:
    """Where a text stands.

    Args:
        box: what it covers.
        anchor: which of its ends keeps its place when the text is narrower than was guessed.
    """

    box: Box
    anchor: Literal["start", "middle", "end"]

    @property
    def x(self) -> float:
        """The place of the anchored end."""
        if self.anchor == "middle":
            return (self.box.left + self.box.right) / 2
        return self.box.left if self.anchor == "start" else self.box.right


def place(
    at: tuple[float, float],
    text: str,
    size: float,
    inner: Box,
    taken: Sequence[Box],
    *,
    right_only: bool = False,
) -> Label:
    """The place for a label of the point `at`: the free one nearest to the right of it.

    Args:
        size: height of the letters.
        inner: where labels may be.
        taken: what they must not cover.
        right_only: keep to the right of the point and move up or down only.
    """
    width, height = text_width(text, size), size + 3
    x, y = at
    middle = y - height / 2
    start = x + GAP + (4 if right_only else 0)  # clear of a ring around the point
    right = Label(Box(start, middle, start + width, middle + height), "start")
    sides = [right]
    if not right_only:
        left = Box(x - GAP - width, middle, x - GAP, middle + height)
        above = Box(x - width / 2, y - GAP - height + 2, x + width / 2, y - GAP + 2)
        below = Box(x - width / 2, y + GAP - 2, x + width / 2, y + GAP + height - 2)
        sides += [Label(left, "end"), Label(above, "middle"), Label(below, "middle")]
    # Then the same places, moved up or down by more and more of a line.
    moves = [0.0] + [sign * height * n for n in (0.6, 1.0, 1.5, 2.0) for sign in (-1, 1)]
    tried = [Label(one.box.moved(move), one.anchor) for move in moves for one in sides]

    def cost(label: Label) -> float:
        outside = label.box.area - label.box.overlap(inner)
        return sum(label.box.overlap(other) for other in taken) + 4 * outside

    return min(tried, key=cost)  # the first of equals: the nearest
