"""Conversations with media in them: the media taken out, the text made by a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfcli.errors import WorkError

# The keys under which an entry of a message has its medium, as transformers looks for them.
_KEYS = {"image": ("image", "url", "path", "base64"), "video": ("video", "url", "path")}


@dataclass
class Taken:
    """A conversation without its media.

    Args:
        messages: as a template takes them: an entry with a medium keeps its type, and its keys with
            the medium's name where that is text.
        images, videos: the media, in order.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    videos: list[Any] = field(default_factory=list)


def take_media(conversation: Sequence[Mapping[str, Any]]) -> Taken:
    """Take the media out of a conversation.

    An entry of a message's content is `{"type": "image", "image": ...}`, with a path, bytes, an
    image or an array under `image`, `url` or `path`, a file's base64 under `base64`, or nothing
    where the image is given beside the conversation; or OpenAI's
    `{"type": "image_url", "image_url": {"url": ...}}`. Videos are the same with `video`.

    Raises:
        WorkError: a conversation of another form; messages are looked at by `render_chat`.
    """
    taken = Taken()
    for at, message in enumerate(conversation):
        if not isinstance(message, Mapping):
            raise WorkError("a message is no mapping", where=f"messages[{at}]")
        content = message.get("content")
        if isinstance(content, list | tuple):
            entries = [_entry(entry, taken) for entry in content]
            message = {**message, "content": entries}
        taken.messages.append(dict(message))
    return taken


def _entry(entry: Any, taken: Taken) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    if entry.get("type") == "image_url" and "image_url" in entry:
        address = entry["image_url"]
        address = address.get("url", "") if isinstance(address, Mapping) else address
        entry = {"type": "image", "url": address}
    medium = entry.get("type")
    if medium not in _KEYS:
        return dict(entry)
    media = taken.images if medium == "image" else taken.videos
    kept = dict(entry)
    for key in _KEYS[medium]:
        if key in entry and entry[key] is not None:
            value = entry[key]
            media.append(f"data:image/*;base64,{value}" if key == "base64" else value)
            kept[key] = value if isinstance(value, str) and key != "base64" else medium
    return kept
