"""Reading text: files of several kinds, and folders of them."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.io.snapshot import is_source
from tfcli.checkpoints.strict_json import kind
from tfcli.console import Console
from tfcli.data.layout import DataPlace, files_of, find_data
from tfcli.data.shards import Shard, ShardHere, shards_of
from tfcli.errors import UsageError, WorkError, hint
from tfcli.limits import MAX_PIPE

MESSAGES = "messages"
"""The key of a conversation in .jsonl."""


@dataclass(frozen=True)
class Document:
    """A text and what to call it."""

    id: str
    text: str


@dataclass(frozen=True)
class Conversation(Document):
    """A document that is a text when a chat template has rendered it; `text` is empty.

    Args:
        messages: as the file has them.
        where: file and line, for errors.
    """

    messages: Any
    where: str


def read_documents(
    path: Path | str, field: str = "text", *, split: str = "train", console: Console | None = None
) -> list[str]:
    """The texts of a data file or folder.

    Args:
        path: a .txt, .md or .rst file (one document), a .jsonl file (one a line), a .csv or
            .parquet file (one a row), or a folder: of such files, or one that `tfcli data` made;
            or what else `find_data` takes.
        field: the key of the text in .jsonl, the column in .csv and .parquet.
        split: which of a folder's train, validation and test to read.
        console: hears how many files of a folder are left out.

    Raises:
        UsageError: nothing there, or a kind of file that is not read.
        WorkError: not UTF-8, a line that is no JSON object or lacks the field, or no text at all.
    """
    found = load_documents(path, field, split=split, console=console)
    return [document.text for document in found]


def load_documents(
    path: Path | str,
    field: str = "text",
    *,
    split: str | None = None,
    console: Console | None = None,
    chats: bool = False,
) -> list[Document]:
    """The documents of a data file or folder, in order, with their ids. See `read_documents`.

    With `chats` a line of .jsonl that has `messages` in place of the field is a `Conversation`;
    without, it is an error.
    """
    documents = [
        document
        for file, name in text_files(path, split, console or Console.silent())
        for document in _read_file(file, name, field)
    ]
    chat = next((each for each in documents if isinstance(each, Conversation)), None)
    if chat is not None and not chats:
        raise WorkError(
            f"the line has no {field!r}",
            where=chat.where,
            fix=f"it has {MESSAGES!r}: put each conversation into {field!r} as the text that the "
            "model is to read",
        )
    if chat is None and not any(document.text.strip() for document in documents):
        raise WorkError("there is no text in it", where=str(path))
    return documents


def python_docs() -> list[Document]:
    """Python's language reference by topic, as `help()` shows it, in the order of the names."""
    from pydoc_data.topics import topics

    return [Document(name, topics[name]) for name in sorted(topics)]


def text_files(path: Path | str, split: str | None, console: Console) -> list[tuple[Path, str]]:
    """The files whose texts `load_documents` gives, each with what to call it.

    Raises:
        UsageError: the folder has splits, and not this one.
        WorkError: a folder without such files.
    """
    place = find_data(path)
    if not place.is_folder:
        return [(place.path, place.path.name)]
    chosen = _text_names(place, split, console)
    return [(file, name.as_posix()) for file, name in zip(place.take(chosen), chosen, strict=True)]


def text_shards(path: Path | str, split: str | None, console: Console) -> Sequence[Shard]:
    """The same files for a stream: those on the hub are fetched when they are read.

    Raises:
        UsageError, WorkError: as `text_files`.
    """
    place = find_data(path)
    if not place.is_folder:
        return [ShardHere(place.path)]
    return shards_of(place, _text_names(place, split, console))


def _text_names(place: DataPlace, split: str | None, console: Console) -> list[Path]:
    """The files of texts of a folder, by their names in it."""
    path, names = place.path, place.names()
    read = [name for name in names if name.suffix.lower() in READERS]
    left = [name.as_posix() for name in names if name.suffix.lower() not in READERS]
    if not read:
        raise WorkError(f"the folder holds no {_kinds()} file", where=str(path))
    chosen = files_of(read, split, place)
    if left and len(chosen) == len(read):
        console.warn(
            f"{path}: {len(left)} of {len(names)} files are not read as text: "
            f"{', '.join(left[:3])}{', ...' if len(left) > 3 else ''}"
        )
    return chosen


def _read_file(path: Path, name: str, field: str) -> Iterator[Document]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"files of the kind {path.suffix or path.name!r} are not read as text",
            where=str(path),
            fix=f"give a {_kinds()} file, or a folder of them",
        )
    if path.is_file():  # a pipe changes as it is read
        is_source([path])
    return reader(path, name, field)


def _plain(path: Path, name: str, field: str) -> Iterator[Document]:
    yield Document(name, read_text(path))


def _lines(path: Path, name: str, field: str) -> Iterator[Document]:
    # Only "\n" ends a line: JSON texts may hold the other characters that splitlines() splits at.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = line.removeprefix(MARK)  # files with a mark each, joined
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            # A number is a text as it stands, with its zeros.
            value = json.loads(line, parse_int=str, parse_float=str)
        except (ValueError, RecursionError) as error:
            raise WorkError(f"the line is not JSON: {error}", where=where) from error
        if not isinstance(value, dict):
            raise WorkError("the line is not a JSON object", where=where)
        name_of_line = str(value.get("id", f"{name}:{number}"))
        if field not in value and MESSAGES in value:
            yield Conversation(name_of_line, "", value[MESSAGES], where)
            continue
        if field not in value:
            raise WorkError(f"the line has no {field!r}", where=where, fix=hint(field, value))
        if not isinstance(value[field], str):
            raise WorkError(f"{field!r} is not text, but {kind(value[field])}", where=where)
        yield Document(name_of_line, _whole(value[field], where))


def _rows(path: Path, name: str, field: str) -> Iterator[Document]:
    from tfcli.data.tables import read_table

    for number, text in enumerate(read_table(path, field), 1):
        yield Document(f"{name}:{number}", text)


READERS: dict[str, Callable[[Path, str, str], Iterator[Document]]] = {
    ".txt": _plain,
    ".md": _plain,
    ".rst": _plain,
    ".jsonl": _lines,
    ".csv": _rows,
    ".parquet": _rows,
}
"""Suffix -> (path, what to call it, field) -> its documents."""


def _kinds() -> str:
    *most, last = READERS
    return f"{', '.join(most)} or {last}"


def _whole(text: str, where: str) -> str:
    """The text, unless JSON's \\ud800 escapes left half a character in it."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise WorkError("the text holds half of a surrogate pair", where=where)
    return text


MARK = "\ufeff"
"""The byte order mark that some editors write before a text. It is no part of it."""
# What the mark is in bytes, which tells how the rest is written. Four bytes come before two.
_ENCODINGS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark: UTF-8, or what the mark says.

    Raises:
        WorkError: in another encoding, not readable, a device, a pipe without end, or changed while
            it was read.
    """
    try:
        data = _bytes(path)
    except OSError as error:
        raise WorkError(f"cannot be read: {error.strerror}", where=str(path)) from error
    encoding = next((name for mark, name in _ENCODINGS.items() if data.startswith(mark)), "utf-8")
    try:
        # Bytes are decoded as they are: universal newlines would change the text that is measured.
        return data.decode(encoding).removeprefix(MARK)
    except UnicodeDecodeError as error:
        raise WorkError(
            f"not {encoding.upper()} text (byte {error.start})",
            where=str(path),
            fix="convert it to UTF-8; of a file that Windows wrote without a byte order mark: "
            "iconv -f WINDOWS-1252 -t UTF-8",
        ) from error


def _bytes(path: Path) -> bytes | bytearray:
    """What is in a file, or comes through a pipe until it is closed."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        file = OpenedFile(path)
        data = bytearray(file.size)
        with file.reading() as reader:
            reader.into(0, memoryview(data))
        return data
    if not stat.S_ISFIFO(mode):
        raise WorkError("is no file of text", where=str(path), fix="give a file, or a pipe")
    with path.open("rb") as pipe:
        text = pipe.read(MAX_PIPE + 1)
    if len(text) > MAX_PIPE:
        raise WorkError(f"more than {MAX_PIPE:,} bytes came through the pipe", where=str(path))
    return text
