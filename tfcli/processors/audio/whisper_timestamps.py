"""Times in what Whisper writes down.

A timestamp counts steps of 0.02 seconds from the beginning of its window. Where a recording has
several windows, times that fall back show that the next one has begun.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

PRECISION = 0.02
"""Seconds from one timestamp to the next."""
WINDOW = 1_500
"""Steps of a window of 30 seconds."""

_WRITTEN = re.compile(r"<\|\d+\.\d+\|>")

Decode = Callable[[list[int]], str]


def without_timestamps(text: str) -> str:
    """A text without timestamps that stand in it as `<|1.08|>`."""
    return _WRITTEN.sub("", text)


def annotated(ids: Sequence[int], begin: int, decode: Decode, precision: float = PRECISION) -> str:
    """The text of ids with times as `<|1.08|>`, counted from the beginning of the recording.

    Args:
        ids: what was generated.
        begin: the id of `<|0.00|>`.
        decode: ids without timestamps -> text.
        precision: seconds of a step.
    """
    run: list[int] = []  # since the last timestamp
    parts: list[str | list[int]] = [run]
    offset = before = latest = 0.0
    for place, index in enumerate(ids):
        if index < begin:
            run.append(index)
            continue
        time = float((index - begin) * precision)
        if time < latest:
            if _ends_alone(ids, place, begin):
                offset += precision * WINDOW
            else:  # the second of two timestamps began what the next window has anew
                latest = before
                offset += before
                del parts[-2:]
        before, latest = latest, time
        run = []
        parts += [f"<|{time + offset:.2f}|>", run]
    return "".join(
        part if isinstance(part, str) else decode(part) if part else "" for part in parts
    )


def segments(
    ids: Sequence[int], begin: int, decode: Decode, precision: float = PRECISION
) -> list[dict[str, Any]]:
    """The parts of a text that stand between timestamps.

    Args:
        ids, begin, decode, precision: as in `annotated`.

    Returns:
        `text` and `timestamp` (first and last second of the recording) of each; nothing where
        there are not two timestamps
    """
    times = [place for place, index in enumerate(ids) if index >= begin]
    if len(times) < 2:
        return []
    # A part ends with a timestamp that another one follows, and at the last one.
    ends = [place + 1 for place in times if place + 1 in set(times)]
    if times[-1] + 1 not in ends:
        ends.append(times[-1] + 1)
    found = []
    start, latest, offset = times[0], 0, 0
    for end in ends:
        part = list(ids[start:end])
        if len(part) > 1:
            first, last = part[0] - begin, part[-1] - begin
            if first < latest:
                offset += WINDOW if _ends_alone(ids, start, begin) else latest
            latest = last
            found.append(
                {
                    "text": without_timestamps(decode(part)),
                    "timestamp": (
                        first * precision + offset * precision,
                        last * precision + offset * precision,
                    ),
                }
            )
        start = end
    return found


def _ends_alone(ids: Sequence[int], place: int, begin: int) -> bool:
    """Whether the window before a place ends with one timestamp rather than two."""
    return place >= 2 and not (ids[place - 1] >= begin and ids[place - 2] >= begin)
