"""`completion`: a prompt and what is to come after it."""

from __future__ import annotations

from tfcli.data.formats.format import Format, text_of
from tfcli.data.formats.media import MEDIA_COLUMNS
from tfcli.data.formats.sample import Pair
from tfcli.data.rows import Row
from tfcli.errors import WorkError


def _read(row: Row) -> Pair:
    with_media = next((name for name in MEDIA_COLUMNS if row.values.get(name)), None)
    if with_media is not None:
        raise WorkError(
            f"a prompt and its completion have no place for {with_media!r}",
            where=row.where,
            fix='give a conversation: {"messages": [...], "' + with_media + '": ...}',
        )
    return Pair(text_of(row, "prompt"), text_of(row, "completion"))


COMPLETION = Format(
    "completion", ("prompt", "completion"), (), _read, '{"prompt": "...", "completion": "..."}'
)
