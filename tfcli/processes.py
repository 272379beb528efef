"""Which process this is, when a launcher such as torchrun starts several."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this process stages, records and prints. True unless a launcher says otherwise."""
    return int(os.environ.get("RANK", "0")) == 0
