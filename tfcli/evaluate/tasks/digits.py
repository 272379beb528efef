"""scikit-learn's handwritten digits as rows: 1,797 images of 8 × 8 that its package carries.

They are the test set of Alpaydin and Kaynak (1998). The first half is for training and the second
one for tests, as in scikit-learn's own example.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from tfcli.errors import UsageError, hint

DIGITS = "digits"
_SPLITS = ("train", "test")
_BRIGHTEST = 16  # of a pixel of theirs


def digit_rows(split: str) -> list[Mapping[str, Any]]:
    """Rows with an `image`, as the bytes of a file, and a `label` from 0 to 9.

    Raises:
        UsageError: no such split, or scikit-learn is not installed.
    """
    if split not in _SPLITS:
        raise UsageError(
            f"there is no split {split!r}", where="test_split", fix=hint(split, _SPLITS)
        )
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            "the digits are scikit-learn's, which is not installed",
            where="dataset_name",
            fix="pip install 'tfcli[metrics]'",
        ) from error
    found = load_digits()
    half = len(found.images) // 2
    part = slice(half) if split == "train" else slice(half, None)
    return [
        {"image": {"bytes": _file(pixels)}, "label": int(label)}
        for pixels, label in zip(found.images[part], found.target[part], strict=True)
    ]


def _file(pixels: Any) -> bytes:
    """An image as a file whose bytes follow from its pixels alone."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray((pixels * 255 / _BRIGHTEST).round().astype("uint8")).save(held, "BMP")
    return held.getvalue()
