"""A model on the hub, read from afar: small files and the headers of the weights, never the data.

The files of weights are made here with their true size and nothing but their header in them, so
that they are read as any others. A file system keeps what is not written as a hole.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from tfcli.checkpoints.io.header import MAX_HEADER
from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.hub import download, explained, hub_ref, names_of, resolve
from tfcli.hub_choice import Choice, HubRef, choose

FIRST = 100_000
"""Bytes that are asked for first; most headers of safetensors files are shorter."""
_MOST_GGUF = 80 << 20  # a header with more is refused by its reader


def open_remote(ref: str, home: Path, console: Console) -> Path:
    """The local folder or file of a model reference; of one on the hub, with headers alone.

    Args:
        ref: as for `tfcli.hub.resolve`.
        home: an empty folder for files of headers, which must outlive what is opened.
        console: for what is fetched.

    Returns:
        What is here already, in the hub's cache too; otherwise something in `home`.

    Raises:
        UsageError: as `resolve`.
        WorkError: as `resolve`.
    """
    asked = None if Path(ref).expanduser().exists() else hub_ref(ref)
    if asked is None:
        return resolve(ref)
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return resolve(ref)
    choice = choose(names_of(asked), asked)
    weights = [name for name in choice.files if name.endswith((".safetensors", ".gguf"))]
    if not weights and any(name.endswith((".bin", ".pth", ".ckpt")) for name in choice.files):
        console.note("its weights are pickles, which have no header at their beginning: fetched")
        return resolve(ref)
    if _cached(asked, choice):
        return resolve(ref)
    small = [name for name in choice.files if name not in weights]
    revision = asked.revision or "main"
    if small:  # and from then on of one commit, by which the folder is named
        beside = download(asked.name, asked.revision, files=small)
        revision = beside.name
    for name in small:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(beside / name, home / name)
    total = 0
    with explained(asked.name, asked.revision, "read"):
        for name in weights:
            total += _header(asked, revision, name, home / name)
    console.note(f"read {total:,} bytes of {len(weights)} files on the hub: their headers alone")
    return home if choice.opened is None else home / choice.opened


def _cached(asked: HubRef, choice: Choice) -> bool:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(
            asked.name, revision=asked.revision, allow_patterns=[], local_files_only=True
        )
    except errors.LocalEntryNotFoundError:
        return False
    return all((Path(folder) / name).exists() for name in choice.files)


def _header(asked: HubRef, revision: str, name: str, path: Path) -> int:
    """Make the file with the header in it; gives how many bytes were asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    read = _reader(asked.name, revision, name)
    data, size = read(0, FIRST)
    asked_for = len(data)
    if name.endswith(".gguf"):
        wanted: Callable[[bytes], int] = lambda held: _gguf_length(path, held, size)  # noqa: E731
    else:
        wanted = _safetensors_length
    while (length := min(wanted(data), size)) > len(data):
        more, _ = read(len(data), length)
        if not more:
            raise WorkError(f"{name} ended early", where=asked.name, fix="run it again")
        data += more
        asked_for += len(more)
    _write(path, data, size)
    return asked_for


def _safetensors_length(data: bytes) -> int:
    """Bytes that the header of a safetensors file takes, as far as its beginning tells."""
    if len(data) < 8:
        return 0  # the reader says what is wrong with it
    length: int = struct.unpack("<Q", data[:8])[0]
    return 8 + length if length <= MAX_HEADER else 0


def _gguf_length(path: Path, data: bytes, size: int) -> int:
    """How many bytes to hold next: what is there where the header ends in it, else four times."""
    from tfcli.checkpoints.gguf.header import read_header
    from tfcli.checkpoints.io.opened import OpenedFile

    _write(path, data, size)
    try:
        tensors = read_header(OpenedFile(path)).tensors
    except WorkError:
        # It ends in the hole, or is broken; that its reader says, which gets most of it at last.
        return min(4 * len(data), _MOST_GGUF)
    ends = min((info.start for info in tensors.values()), default=size)
    return len(data) if ends <= len(data) else min(4 * len(data), _MOST_GGUF)


def _write(path: Path, data: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.truncate(size)


def _reader(name: str, revision: str, file: str) -> Callable[[int, int], tuple[bytes, int]]:
    """What reads the bytes of a file from one place to another, and tells its whole size."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = hf_hub_url(name, file, revision=revision)

    def read(start: int, stop: int) -> tuple[bytes, int]:
        # As it lies there: a compressed answer has other places.
        headers = build_hf_headers() | {
            "Range": f"bytes={start}-{stop - 1}",
            "Accept-Encoding": "identity",
        }
        with get_session().stream("GET", url, headers=headers, follow_redirects=True) as answer:
            hf_raise_for_status(answer)
            partial = answer.headers.get("Content-Range")
            if partial is None:  # it sends all from the beginning
                size, left = int(answer.headers["Content-Length"]), stop
            else:
                size, left = int(partial.rpartition("/")[2]), stop - start
            held = b""
            for piece in answer.iter_bytes():
                held += piece
                if len(held) >= left:
                    break
        return (held[:left] if partial is not None else held[start:stop]), size

    return read
