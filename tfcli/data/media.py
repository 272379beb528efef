"""What stands for a picture or a recording in a row: a path, the bytes of a file, or an address
that holds these."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.checkpoints.strict_json import kind
from tfcli.data.rows import Row
from tfcli.errors import WorkError

Source = str | bytes
"""A path, an address `data:...;base64,...`, or the bytes of a file."""
_FILE = "file://"


@dataclass(frozen=True)
class Medium:
    """A picture or a recording of a row.

    Args:
        kind: `image`, `audio`, or what a model calls it otherwise.
        source: what is read.
    """

    kind: str
    source: Source

    def opened(self) -> Opened:
        """The medium as a processor takes it, an image with its pixels.

        Raises:
            WorkError: it cannot be read.
        """
        if self.kind == "audio":
            return Opened(self.kind, self._bytes())
        from tfcli.processors.images.read import read_image

        return Opened(self.kind, read_image(self.source))

    def _bytes(self) -> Source:
        """The bytes of a `data:` address; all else as it is."""
        text = self.source
        if isinstance(text, bytes) or not text.startswith("data:"):
            return text
        try:
            return base64.b64decode(text.partition(",")[2], validate=True)
        except ValueError as error:  # binascii.Error is one
            raise WorkError(f"the address holds no medium: {error}", where=text[:40]) from error


@dataclass(frozen=True)
class Opened:
    """A medium that is read.

    Args:
        kind: as of `Medium`.
        value: as a processor takes it.
    """

    kind: str
    value: Any


def blank_image(side: int = 512) -> Medium:
    """A white image, as large as pictures of data often are.

    Args:
        side: its height and width, in pixels.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (side, side), "white").save(file, "PNG")
    return Medium("image", file.getvalue())


def source_of(value: Any, row: Row, name: str) -> Source:
    """What a row says of a medium, as it can be read.

    Args:
        value: a path from the folder of the row's file on, an absolute one, a `data:` address, the
            bytes of a file, or an object of `bytes` and `path`, as `datasets` stores media.
        row: that it is in.
        name: of the value, for errors.

    Raises:
        WorkError: it is something else, or an address that would be fetched; names the row.
    """
    if isinstance(value, Mapping) and (value.keys() & {"bytes", "path"}):
        held = value.get("bytes")
        value = value.get("path") if held is None else held
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value:
        raise WorkError(
            f"{name} is no path, data: address or bytes of a file, but {kind(value)}",
            where=row.where,
        )
    if value.startswith("data:"):
        return value
    if value.startswith(("http://", "https://")):
        raise WorkError(
            f"{name} is an address, and nothing is fetched: {value[:80]}",
            where=row.where,
            fix="download the files, and name their paths",
        )
    return str(row.folder / Path(value.removeprefix(_FILE)).expanduser())


def base64_source(text: Any, row: Row, name: str) -> bytes:
    """The bytes that a text in base64 says.

    Raises:
        WorkError: it is none; names the row.
    """
    try:
        if not isinstance(text, str):
            raise ValueError(f"it is {kind(text)}")
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise WorkError(f"{name} is no text in base64: {error}", where=row.where) from error
