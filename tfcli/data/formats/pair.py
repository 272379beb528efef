"""`completion`: a prompt and what is to come after it."""

from __future__ import annotations

from tfcli.data.formats.format import Format, text_of
from tfcli.data.formats.sample import Pair
from tfcli.data.rows import Row


def _read(row: Row) -> Pair:
    return Pair(text_of(row, "prompt"), text_of(row, "completion"))


COMPLETION = Format(
    "completion", ("prompt", "completion"), (), _read, '{"prompt": "...", "completion": "..."}'
)
