"""Images as rows of patches, for models that take images of any shape."""

from __future__ import annotations

from torch import Tensor

from tfcli.errors import WorkError
from tfcli.processors.images.size import Pair


def check_divides(size: Pair, patch: int) -> None:
    """Refuse an image that patches do not cover evenly.

    Raises:
        WorkError: a side is no multiple of `patch` pixels.
    """
    if size[0] % patch or size[1] % patch:
        raise WorkError(
            f"an image of {size[0]} x {size[1]} pixels does not divide into patches of {patch}",
            fix="set do_resize, or give images whose sides are multiples of that",
        )


def rows_of_patches(image: Tensor, patch: int) -> Tensor:
    """An image [c, h, w] as its patches row by row, [h / p · w / p, p · p · c], channels last."""
    channels, height, width = image.shape
    parts = image.reshape(channels, height // patch, patch, width // patch, patch)
    return parts.permute(1, 3, 2, 4, 0).reshape(-1, patch * patch * channels)


def merged_patches(frames: Tensor, patch: int, merge: int, temporal: int) -> Tensor:
    """Frames as patches that reach over time, those that are merged later side by side.

    Args:
        frames: [t, c, h, w]; t a multiple of `temporal`, sides of `patch * merge`.
        patch: its side in pixels. merge: the side of a square of patches that become one feature.
        temporal: frames of one patch.

    Returns:
        [t / temporal · h / patch · w / patch, c · temporal · patch · patch], in the order of time,
        rows of squares, columns of squares, then rows and columns within a square.
    """
    time, channels, height, width = frames.shape
    rows, columns = height // patch // merge, width // patch // merge
    parts = frames.reshape(
        time // temporal, temporal, channels, rows, merge, patch, columns, merge, patch
    )
    parts = parts.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return parts.reshape(-1, channels * temporal * patch * patch)
