"""The cases of `aqlm.safetensors`."""

from __future__ import annotations

SHAPE = (12, 32)
"""Outputs and inputs."""

CASES = {
    "one-book": (8, 1, 1, 8),
    "two-books": (8, 1, 2, 8),
    "wide-codes": (8, 1, 1, 10),
    "narrow-codes": (4, 1, 3, 5),
    "outputs": (4, 3, 2, 6),
}
"""Inputs and outputs of a block, codebooks, and bits of a code."""
