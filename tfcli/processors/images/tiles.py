"""Images cut into tiles that a vision tower takes one by one."""

from __future__ import annotations

import math

from torch import Tensor

from tfcli.errors import WorkError
from tfcli.limits import MAX_TILES
from tfcli.processors.images.size import Pair


def fitted(height: int, width: int, target: Pair) -> Pair:
    """The largest size of the same shape within `target`, rounded up."""
    down, across = target[0] / height, target[1] / width
    if across < down:
        return min(math.ceil(height * across), target[0]), target[1]
    return target[0], min(math.ceil(width * down), target[1])


def cut_tiles(image: Tensor, side: int) -> list[Tensor]:
    """An image [c, h, w] as squares, row by row; the last ones may be narrower.

    Raises:
        WorkError: more than `MAX_TILES`.
    """
    height, width = image.shape[-2:]
    count = math.ceil(height / side) * math.ceil(width / side)
    if count > MAX_TILES:
        raise WorkError(
            f"{height} x {width} pixels would be cut into {count:,} tiles of {side}; "
            f"{MAX_TILES:,} at most are made",
            where="image_grid_pinpoints",
        )
    return [
        image[:, top : top + side, left : left + side]
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
