"""Conversations with media in them: the media taken out, the text made by a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfcli.errors import WorkError

KEYS = {
    "image": ("image", "url", "path", "base64"),
    "video": ("video", "url", "path"),
    "audio": ("audio", "url", "path"),
}
"""Type of an entry -> the keys under which it has its medium, as transformers looks for them."""
SEEN = {kind: KEYS[kind] for kind in ("image", "video")}
"""Those of media that are looked at."""


@dataclass
class Taken:
    """A conversation without its media.

    Args:
        messages: as a template takes them: an entry with a medium keeps its type, and its keys with
            the medium's name where that is text.
        media: type of an entry -> the media of such entries, in order.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    media: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def images(self) -> list[Any]:
        """The images, in order."""
        return self.media.get("image", [])

    @property
    def videos(self) -> list[Any]:
        """The videos, in order."""
        return self.media.get("video", [])


def take_media(
    conversation: Sequence[Mapping[str, Any]],
    keys: Mapping[str, Sequence[str]] = SEEN,
) -> Taken:
    """Take the media out of a conversation.

    An entry of a message's content is `{"type": "image", "image": ...}`, with a path, bytes, an
    image or an array under `image`, `url` or `path`, a file's base64 under `base64`, or nothing
    where the image is given beside the conversation; or OpenAI's
    `{"type": "image_url", "image_url": {"url": ...}}`. Videos are the same with `video`.

    Args:
        conversation: the messages.
        keys: type of an entry -> the keys that its medium may be under.

    Raises:
        WorkError: a conversation of another form; messages are looked at by `render_chat`.
    """
    taken = Taken()
    for at, message in enumerate(conversation):
        if not isinstance(message, Mapping):
            raise WorkError("a message is no mapping", where=f"messages[{at}]")
        content = message.get("content")
        if isinstance(content, list | tuple):
            entries = [_entry(entry, taken, keys) for entry in content]
            message = {**message, "content": entries}
        taken.messages.append(dict(message))
    return taken


def _entry(entry: Any, taken: Taken, keys: Mapping[str, Sequence[str]]) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    if entry.get("type") == "image_url" and "image_url" in entry:
        address = entry["image_url"]
        address = address.get("url", "") if isinstance(address, Mapping) else address
        entry = {"type": "image", "url": address}
    medium = entry.get("type")
    if medium not in keys:
        return dict(entry)
    media = taken.media.setdefault(medium, [])
    kept = dict(entry)
    for key in keys[medium]:
        if key in entry and entry[key] is not None:
            value = entry[key]
            media.append(f"data:image/*;base64,{value}" if key == "base64" else value)
            kept[key] = value if isinstance(value, str) and key != "base64" else medium
    return kept
