"""Media in conversations: parts of messages that have them, and columns beside the messages.

A part is `{"type": "image", "image": ...}` with a medium under its type, `url`, `path`, `base64` or
`bytes`, as transformers has it; OpenAI's `image_url` and `input_audio`; or a type alone, which
stands for the next medium of a column. In a text `<image>` stands for that too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfcli.data.formats.format import from_json
from tfcli.data.media import Medium, Source, base64_source, source_of
from tfcli.data.rows import Row
from tfcli.errors import WorkError
from tfcli.units import plural

COLUMNS = {
    "image": ("images", "image"),
    "audio": ("audios", "audio"),
    "video": ("videos", "video"),
}
"""Kind of media -> the columns that may have those of a row: a list, or one."""
MEDIA_COLUMNS = tuple(name for names in COLUMNS.values() for name in names)
_OPENAI = {"image_url": "image", "audio_url": "audio", "video_url": "video"}
_KEYS = ("bytes", "url", "path", "base64")


def take_media(
    messages: list[dict[str, Any]], row: Row
) -> tuple[list[dict[str, Any]], tuple[Medium, ...]]:
    """A conversation whose media stand as `{"type": kind}`, and the media in their order.

    Media of a column that nothing stands for come before the first message of the user's.

    Raises:
        WorkError: as many media as there are in a column do not stand in the messages, or one that
            is none; names the row.
    """
    taker = _Taker(row, messages)
    made = [taker.message(each, f"messages[{n}]") for n, each in enumerate(messages)]
    for kind, waiting in taker.waiting.items():
        if waiting:
            stand = taker.given[kind] - len(waiting)
            raise WorkError(
                f"the row has {plural(taker.given[kind], kind)}, and {stand} stand in its messages",
                where=row.where,
                fix=f'put <{kind}> or {{"type": "{kind}"}} where each belongs',
            )
    return made, tuple(taker.media)


class _Taker:
    """Takes media out of the messages of a row, one after the other."""

    def __init__(self, row: Row, messages: list[dict[str, Any]]) -> None:
        self.row, self.media = row, list[Medium]()
        self.waiting = {kind: _of_columns(row, kind) for kind in COLUMNS}
        self.given = {kind: len(found) for kind, found in self.waiting.items()}
        self.before = [
            kind
            for kind, found in self.waiting.items()
            if found and not any(_stands_in(message.get("content"), kind) for message in messages)
        ]

    def message(self, message: dict[str, Any], name: str) -> dict[str, Any]:
        """A message whose media are taken."""
        content = message.get("content")
        first = self.before if message.get("role") == "user" else []
        if first:
            self.before = []
            parts = [{"type": kind} for kind in first for _ in self.waiting[kind]]
            rest = [{"type": "text", "text": content}] if isinstance(content, str) else content
            content = [*parts, *(rest if isinstance(rest, list) else [])]
        elif isinstance(content, str):
            content = self._parted(content)
        if not isinstance(content, list):
            return message
        return {**message, "content": [self._part(each, f"{name}.content") for each in content]}

    def _parted(self, text: str) -> str | list[Any]:
        """A text as parts where it has places for media of a column."""
        parts: list[Any] = [text]
        for kind in (kind for kind, found in self.given.items() if found):
            split: list[Any] = []
            for part in parts:
                pieces = part.split(f"<{kind}>") if isinstance(part, str) else [part]
                for number, piece in enumerate(pieces):
                    split += ([{"type": kind}] if number else []) + ([piece] if piece else [])
            parts = split
        if all(isinstance(part, str) for part in parts):
            return text
        return [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]

    def _part(self, part: Any, name: str) -> Any:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind == "text" or not isinstance(kind, str):
            return part
        kind, source = _held(part, kind, self.row, name)
        if source is None:
            waiting = self.waiting.get(kind)
            if waiting is None:
                return part  # no medium: a template may know what it is
            if not waiting:
                raise WorkError(
                    f"the row has {plural(self.given[kind], kind)}, and there are places for more",
                    where=self.row.where,
                    fix=f"put the {kind} into the part, or all of them into a column {kind}s",
                )
            source = waiting.pop(0)
        self.media.append(Medium(kind, source))
        return {"type": kind}


def _of_columns(row: Row, kind: str) -> list[Source]:
    """The media of a row's columns."""
    for column in COLUMNS[kind]:
        value = row.values.get(column)
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = from_json(value, row, column)
        if value is not None and value != "":
            several = value if isinstance(value, list) else [value]
            return [source_of(each, row, f"{column}[{n}]") for n, each in enumerate(several)]
    return []


def _stands_in(content: Any, kind: str) -> bool:
    """Whether a content has a place for a medium of a column."""
    if isinstance(content, str):
        return f"<{kind}>" in content
    parts = content if isinstance(content, list) else []
    return any(
        isinstance(part, Mapping) and part.get("type") == kind and not _keys(part, kind)
        for part in parts
    )


def _keys(part: Mapping[str, Any], kind: str) -> list[str]:
    """The keys of a part that have its medium."""
    return [key for key in (kind, *_KEYS) if part.get(key) is not None]


def _held(part: Mapping[str, Any], kind: str, row: Row, name: str) -> tuple[str, Source | None]:
    """The kind of a part's medium, and the medium; None where the part has none.

    Raises:
        WorkError: what the part has is none; names the row.
    """
    if kind in _OPENAI:
        held = part.get(kind)
        held = held.get("url") if isinstance(held, Mapping) else held
        return _OPENAI[kind], source_of(held, row, f"{name}: {kind}")
    if kind == "input_audio":
        held = part.get(kind)
        data = held.get("data") if isinstance(held, Mapping) else held
        return "audio", base64_source(data, row, f"{name}: {kind}.data")
    keys = _keys(part, kind)
    if not keys:
        return kind, None
    key = keys[0]
    read = base64_source if key == "base64" else source_of
    return kind, read(part[key], row, f"{name}: {key}")
