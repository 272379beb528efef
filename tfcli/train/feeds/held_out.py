"""A part of the data for validation: always the same one, and nothing of it is trained on."""

from __future__ import annotations

import hashlib

import numpy as np

from tfcli.errors import UsageError


def held_out(keys: np.ndarray, share: float) -> np.ndarray:
    """Which items are held out. Items of one key stay together.

    A key is a hash, so the smallest ones are a fair choice, which neither the order nor the seed
    of a run changes, and few further items change little.

    Args:
        keys (ndarray): [n] int64, equal for equal items.
        share: of the different keys; at least one is held out, and one is not.

    Returns:
        [n] bool

    Raises:
        UsageError: all items are equal.
    """
    different = np.unique(keys)
    if len(different) < 2:
        raise UsageError(
            "all rows or documents are equal, and none of them can be held out",
            where="validation_share",
            fix="give validation, or more data",
        )
    count = min(max(1, round(share * len(different))), len(different) - 1)
    return np.isin(keys, different[:count])


def text_key(text: str) -> int:
    """A number of 63 bits that equal texts share."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
