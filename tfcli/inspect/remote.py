"""A model on the hub, read from afar: small files and the headers of the weights, never the data.

The files of weights are made here with nothing but their header in them, so that they are read as
any others (`ranges`).
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from tfcli.checkpoints.io.header import MAX_HEADER
from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.hub import download, explained, hub_ref, local_path, names_of, resolve
from tfcli.hub_choice import Choice, HubRef, choose
from tfcli.inspect.ranges import BLOCK, RemoteFile

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
    asked = hub_ref(ref) if local_path(ref) is None else None
    if asked is None:
        return resolve(ref)
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return resolve(ref)
    choice = choose(names_of(asked), asked)
    weights = [name for name in choice.files if Path(name).suffix in _HEADERS]
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
            file = RemoteFile(asked, revision, name, home / name)
            _HEADERS[Path(name).suffix](file)
            total += file.fetched
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


def _hold_safetensors(file: RemoteFile) -> None:
    """The length of the header stands before it."""
    data = file.hold(0, 8)
    if len(data) == 8:
        (length,) = struct.unpack("<Q", data)
        if length <= MAX_HEADER:
            file.hold(0, 8 + length)
    # Otherwise the reader says what is wrong with it.


def _hold_gguf(file: RemoteFile) -> None:
    """Nothing says how long the header is: read four times as much until it is all there.

    Where it is broken, its reader gets most of it at last, and says so.
    """
    from tfcli.checkpoints.gguf.header import read_header
    from tfcli.checkpoints.io.opened import OpenedFile

    length = BLOCK
    while length < min(file.size, _MOST_GGUF):
        try:
            tensors = read_header(OpenedFile(file.path)).tensors
        except WorkError:
            tensors = {}  # it ends in the hole, or is broken
        ends = min((info.start for info in tensors.values()), default=file.size)
        if ends <= length:
            return
        length *= 4
        file.hold(0, length)


def _hold_pickle(file: RemoteFile) -> None:
    """The directory at the end of a zip file, the pickle that it names, and the byte order.

    Each storage has a header of its own before it, which the directory's reader asks for as well.
    """
    from tfcli.checkpoints.torch.file import ZIP
    from tfcli.checkpoints.torch.zip_directory import Part, read_directory

    if file.hold(0, len(ZIP)) != ZIP:
        raise WorkError(
            "a pickle of torch before 1.6, whose tensors are listed all over it",
            where=file.path.name,
            fix="download it with `tfcli hub download` and inspect it here",
        )
    for name, entry in read_directory(Part(file, 0, file.size), file.path).items():
        if name.rpartition("/")[2] in ("data.pkl", "byteorder"):
            file.hold(entry.start, entry.start + entry.nbytes)


_HEADERS: dict[str, Callable[[RemoteFile], None]] = {
    ".safetensors": _hold_safetensors,
    ".gguf": _hold_gguf,
    ".bin": _hold_pickle,
    ".pt": _hold_pickle,
    ".pth": _hold_pickle,
    ".ckpt": _hold_pickle,
}
