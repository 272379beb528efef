"""The key `shard_size` of verbs that write checkpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from tfcli.units import parse_bytes

LARGEST_FILE = "Largest weight file: 5GB, 500MB, 2GiB or a number of bytes."


def _is_size(value: int | str) -> int | str:
    parse_bytes(value)
    return value


ShardSize = Annotated[int | str, AfterValidator(_is_size)]
"""A size that `parse_bytes` takes."""
