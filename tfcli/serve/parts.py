"""Parts of messages as chat templates take them, from any interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfcli.serve.http.errors import ApiError


def as_content(parts: Sequence[dict[str, Any]]) -> Any:
    """The content of a message: its parts where images are among them, otherwise one text, which
    every template takes."""
    if any(part["type"] == "image" for part in parts):
        return list(parts)
    return "\n".join(part["text"] for part in parts)


def image_part(url: str) -> dict[str, Any]:
    """An image, by its data. Another address would be read by the server: of a file, or of its
    network.

    Raises:
        ApiError: it is another.
    """
    kind, found, _ = url.partition(";base64,")
    if not found or not kind.startswith("data:image/"):
        raise ApiError(
            400,
            "an image must be a data URL, data:image/...;base64,...: the server fetches nothing",
            param="messages",
        )
    return {"type": "image", "path": url}
