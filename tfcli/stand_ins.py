"""Files that stand where another was meant to be: what came in the place of a download."""

from __future__ import annotations

from pathlib import Path

from tfcli.errors import WorkError

_HEAD = 256  # bytes that tell
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = (b"<!doctype html", b"<html")
_OLD_GGML = (b"lmgg", b"fmgg", b"tjgg", b"algg")


def refuse_stand_in(path: Path, head: bytes | None = None) -> None:
    """Refuse a file that is not what its name says.

    Args:
        path: the file.
        head: its first bytes, where they are read already.

    Raises:
        WorkError: a pointer of Git LFS, a web page, a GGML file of before GGUF, or nothing at all
            of what a name that ends in .gguf says.
    """
    head = _read(path) if head is None else head[:_HEAD]  # of a large file no copy is made
    if head.startswith(_POINTER):
        raise WorkError(
            "is a pointer of Git LFS, which stands for the file, and not the file itself",
            where=str(path),
            fix="get the file: git lfs pull in its repository, or download it by itself",
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        raise WorkError(
            "is a web page and not the file that its name says",
            where=str(path),
            fix="download it again, by the address of the file itself; it may need a login",
        )
    if head[:4] in _OLD_GGML:
        raise WorkError(
            "is a GGML file of before GGUF, which is not read",
            where=str(path),
            fix="get the model as GGUF, or convert it with llama.cpp's convert_llama_ggml_to_gguf",
        )
    if path.suffix == ".gguf" and not head.startswith(b"GGUF"):
        raise WorkError(
            f"is no GGUF file: it begins with {head[:8]!r}",
            where=str(path),
            fix="get the file again; the download may not be complete",
        )


def _read(path: Path) -> bytes:
    """The first bytes; none of what is no file, as a pipe that no one writes to."""
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""  # whoever reads it says why
