"""The `size` of a preprocessor_config.json, and the height and width that follow from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from tfcli.errors import WorkError
from tfcli.limits import MAX_MADE_PIXELS

Pair = tuple[int, int]
"""Height and width."""

KINDS = (
    {"height", "width"},
    {"shortest_edge"},
    {"shortest_edge", "longest_edge"},
    {"longest_edge"},
    {"max_height", "max_width"},
)


@dataclass(frozen=True)
class Size:
    """What an image is made to fit, in pixels; which of these are set says how.

    Args:
        height, width: exactly that.
        shortest_edge: the shorter side gets that length, the other follows; with `longest_edge`,
            shorter where the longer side would pass that.
        longest_edge: see there.
        max_height, max_width: the largest of the same shape that fits.
    """

    height: int | None = None
    width: int | None = None
    shortest_edge: int | None = None
    longest_edge: int | None = None
    max_height: int | None = None
    max_width: int | None = None

    def written(self) -> dict[str, int]:
        """As a preprocessor_config.json has it."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


def read_size(value: Any, key: str, *, square: bool = True) -> Size | None:
    """A size in any spelling of preprocessor_config.json.

    Args:
        value: an object with one of the sets of keys in `KINDS`, [height, width], or one number.
        key: where it stands, for errors.
        square: one number is height and width; else the shorter side.

    Raises:
        WorkError: none of these, or a side that is not positive.
    """
    if value is None or isinstance(value, Size):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"height": value, "width": value} if square else {"shortest_edge": value}
    elif isinstance(value, list | tuple) and len(value) == 2:
        value = {"height": value[0], "width": value[1]}
    if not isinstance(value, dict) or set(value) not in KINDS:
        kinds = "; ".join(" and ".join(sorted(kind)) for kind in KINDS)
        raise WorkError(
            f"{str(value)[:80]} is no size", where=key, fix=f"its keys are one of: {kinds}"
        )
    for name, side in value.items():
        if not isinstance(side, int) or isinstance(side, bool) or side < 1:
            raise WorkError(f"{str(side)[:40]} is no positive whole number", where=f"{key}.{name}")
    return Size(**value)


def exact(size: Size, key: str) -> Pair:
    """The height and width of a size that says both.

    Raises:
        WorkError: it does not.
    """
    if size.height is None or size.width is None:
        raise WorkError(f"{size.written()} must say height and width", where=key)
    return size.height, size.width


def resized(size: Size, height: int, width: int) -> Pair:
    """The height and width that an image of `height` × `width` is resized to.

    The roundings are those of transformers' `get_resize_output_image_size` and
    `get_size_with_aspect_ratio`.

    Raises:
        WorkError: a size with a longest edge alone, which only some processors know to use.
    """
    if size.shortest_edge and size.longest_edge:
        return _between(size.shortest_edge, size.longest_edge, height, width)
    if size.shortest_edge:
        short, long = sorted((height, width))
        other = int(size.shortest_edge * long / short)
        return (other, size.shortest_edge) if width <= height else (size.shortest_edge, other)
    if size.max_height and size.max_width:
        scale = min(size.max_height / height, size.max_width / width)
        return int(height * scale), int(width * scale)
    if size.height and size.width:
        return size.height, size.width
    raise WorkError(f"{size.written()} is no size that this processor resizes to", where="size")


def _between(shortest: int, longest: int, height: int, width: int) -> Pair:
    short, long = sorted((height, width))
    exact_side = float(shortest)
    if long / short * shortest > longest:
        exact_side = longest * short / long
        shortest = round(exact_side)
    if short == shortest:
        return height, width
    other = int(exact_side * long / short)
    return (other, shortest) if width < height else (shortest, other)


def check_made(pixels: int, what: str) -> None:
    """Refuse what would take far more memory than any model's input.

    Args:
        pixels: how many are made of one image. what: of which size, for errors.

    Raises:
        WorkError: more than `MAX_MADE_PIXELS`.
    """
    if pixels > MAX_MADE_PIXELS:
        raise WorkError(
            f"{what} makes {pixels:,} pixels of one image; {MAX_MADE_PIXELS:,} at most are made",
            fix="crop an image this long and narrow, or make the processor's sizes smaller",
        )
