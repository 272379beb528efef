"""How large a model a checkpoint can be: its config is compared with its files' headers by this."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tfcli.limits import MAX_VALUES_OVER

_PACKED = 16  # values in one stored element, at most: two bits each in 32


def most_values(config: Mapping[str, Any], shapes: Iterable[tuple[int, ...]]) -> int:
    """How many values the model of a config may have to belong to tensors of these shapes.

    That is twice what is stored, since a tied table may be there once and be counted twice, and
    room for a new head.
    """
    stored = sum(map(math.prod, shapes))
    packed = config.get("quantization_config") is not None or config.get("quantization") is not None
    return 2 * stored * (_PACKED if packed else 1) + MAX_VALUES_OVER
