"""Folders of pictures as rows: a folder a label, as `datasets` calls it an imagefolder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PICTURES = (
    ".avif",
    ".bmp",
    ".gif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
"""Ends of the names of pictures; what is in a file decides what it is."""


class Pictures:
    """Pictures as rows of `image`, a path from the folder on, and `label`, the name of the folder
    that a picture is in.

    Args:
        folder: that all of them are in.
        names: of the pictures, from there on.
    """

    def __init__(self, folder: Path, names: Sequence[Path]) -> None:
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    def values(self, number: int) -> dict[str, Any]:
        name = self.names[number]
        label = (self.folder / name).absolute().parent.name
        return {"image": name.as_posix(), "label": label}

    def where(self, number: int) -> str:
        return str(self.folder / self.names[number])
