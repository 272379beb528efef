"""Index files: which shard of a checkpoint holds which tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic cannot read Python 3.11's own

from tfcli.checkpoints.strict_json import MAX_BYTES, memory, parse_object
from tfcli.checkpoints.typed_json import fitting
from tfcli.errors import WorkError
from tfcli.files import read_bounded
from tfcli.units import format_bytes

MAX_MEMORY = 250_000_000
"""Bytes that reading an index may take, see `strict_json.memory`: some 400,000 tensors."""


class WeightIndex(TypedDict):
    """What an index has that is read.

    Keys:
        weight_map: tensor -> name of its shard.
    """

    weight_map: Annotated[dict[str, str], Field(min_length=1)]


_INDEX = TypeAdapter(WeightIndex)


def read_index(path: Path) -> dict[str, str]:
    """The `weight_map` of an index file: which shard holds which tensor.

    Raises:
        WorkError: the file cannot be read or has no such map of texts.
    """
    where = str(path)
    found = parse_object(read_bounded(path, MAX_BYTES), where=where, budget=MAX_MEMORY)
    return fitting(_INDEX, found, where=where)["weight_map"]


def index_text(homes: Mapping[str, str], total: int, path: Path) -> str:
    """The text of an index that `read_index` takes.

    Args:
        homes: tensor -> name of its shard.
        total: bytes of all tensors.
        path: of the index, for errors.

    Raises:
        WorkError: more tensors than `read_index` takes.
    """
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(homes.items()))}
    text = json.dumps(index, indent=2, ensure_ascii=False) + "\n"
    data = text.encode()
    if len(data) > MAX_BYTES or memory(data) > MAX_MEMORY:
        raise WorkError(
            f"the index of {len(homes):,} tensors would take {format_bytes(memory(data))} to read; "
            f"{format_bytes(MAX_MEMORY)} are allowed",
            where=str(path),
            fix="convert it to gguf, which keeps the experts of a layer in one tensor",
        )
    return text
