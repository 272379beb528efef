"""Long texts in windows that overlap."""

from __future__ import annotations

from collections.abc import Iterator

from tfcli.errors import WorkError


def cuts(count: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """The windows of a text, each with its first token and the one after its last.

    Args:
        count: tokens of the text.
        room: tokens of a window.
        stride: tokens that a window has in common with the next one.

    Raises:
        WorkError: windows that would not get ahead.
    """
    if room < 1 or (count > room and room <= stride):
        raise WorkError(
            f"a window has room for {max(room, 0)} tokens, and shares {stride} with the next one",
            fix="give a smaller stride, or a greater length",
        )
    for begin in range(0, max(count, 1), room - stride if count > room else room):
        yield begin, min(begin + room, count)
        if begin + room >= count:
            return
