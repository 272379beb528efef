"""The files beside a checkpoint's weights that go along: tokenizer, chat template and others."""

from __future__ import annotations

from pathlib import Path

from tfcli.errors import WorkError
from tfcli.files import inside
from tfcli.hub import COMPANIONS
from tfcli.tokenizers.bounded import MAX_BYTES, MAX_JSON_BYTES, MAX_SIDE_BYTES

_LIMITS = {
    **dict.fromkeys(COMPANIONS, MAX_SIDE_BYTES),
    **dict.fromkeys(("tokenizer.model", "vocab.json", "vocab.txt", "merges.txt"), MAX_BYTES),
    "tokenizer.json": MAX_JSON_BYTES,
}


def find_companions(folder: Path) -> list[str]:
    """The names of those that are in a folder.

    Raises:
        WorkError: one is a link that leads outside the folder, no file, or larger than those of
            its name are.
    """
    found = []
    for name, limit in _LIMITS.items():
        if not ((folder / name).is_symlink() or (folder / name).exists()):
            continue
        path = inside(folder, name)
        if not path.is_file():
            raise WorkError("not a file, or a link to nothing", where=str(path))
        if path.stat().st_size > limit:
            raise WorkError(
                f"has {path.stat().st_size:,} bytes; {limit:,} at most are read",
                where=str(path),
                fix="it is not what its name says, or it is damaged; get it again",
            )
        found.append(name)
    return found
