"""`text`: a text a row."""

from __future__ import annotations

from tfcli.data.formats.format import Format, text_of
from tfcli.data.formats.sample import Text
from tfcli.data.rows import Row


def _read(row: Row) -> Text:
    return Text(text_of(row, "text"))


TEXT = Format("text", ("text",), (), _read, '{"text": "..."}')
