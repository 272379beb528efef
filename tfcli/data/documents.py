"""Reading text files: one document a .txt or .md file, or one a line of a .jsonl file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfcli.errors import UsageError, WorkError, hint

SPLITS = ("train", "validation", "test")
PLAIN = (".txt", ".md", ".rst")


@dataclass(frozen=True)
class Document:
    """A text and what to call it."""

    id: str
    text: str


def read_documents(path: Path | str, field: str = "text", *, split: str = "train") -> list[str]:
    """The texts of a data file or folder.

    Args:
        path: a .txt, .md or .rst file (one document), a .jsonl file (one a line), a .csv or
            .parquet file (one a row), or a folder: of .txt files, or one that `tfcli data` made.
        field: the key of the text in .jsonl, the column in .csv and .parquet.
        split: which of a folder's train, validation and test to read.

    Raises:
        UsageError: nothing there, or a kind of file that is not read.
        WorkError: not UTF-8, a line that is no JSON object or lacks the field, or no text at all.
    """
    return [document.text for document in load_documents(path, field, split=split)]


def load_documents(
    path: Path | str, field: str = "text", *, split: str | None = None
) -> list[Document]:
    """The documents of a data file or folder, in order, with their ids. See `read_documents`."""
    path = Path(path)
    if not path.exists():
        raise UsageError(f"there is no such file or folder: {path}", where="data")
    if path.is_dir() and split and any((path / f"{name}.jsonl").exists() for name in SPLITS):
        path = path / f"{split}.jsonl"
        if not path.exists():
            raise UsageError(f"the folder has no {split}.jsonl", where=str(path.parent))
    documents = list(_read(path, field))
    if not any(document.text.strip() for document in documents):
        raise WorkError("there is no text in it", where=str(path))
    return documents


def python_docs() -> list[Document]:
    """Python's language reference by topic, as `help()` shows it, in the order of the names."""
    from pydoc_data.topics import topics

    return [Document(name, topics[name]) for name in sorted(topics)]


def _read(path: Path, field: str) -> Iterator[Document]:
    if path.is_dir():
        files = sorted(path.rglob("*.txt"))
        if not files:
            raise WorkError("the folder holds no .txt files", where=str(path))
        for file in files:
            yield Document(file.relative_to(path).as_posix(), _text(file))
    elif path.suffix in PLAIN:
        yield Document(path.name, _text(path))
    elif path.suffix == ".jsonl":
        yield from _lines(path, field)
    elif path.suffix in (".csv", ".parquet"):
        from tfcli.data.tables import read_table

        for number, text in enumerate(read_table(path, field), 1):
            yield Document(f"{path.name}:{number}", text)
    else:
        raise UsageError(
            f"files of the kind {path.suffix or path.name!r} are not read as text",
            where=str(path),
            fix="give a .txt, .md, .rst, .jsonl, .csv or .parquet file, or a folder of .txt files",
        )


def _lines(path: Path, field: str) -> Iterator[Document]:
    # Only "\n" ends a line: JSON texts may hold the other characters that splitlines() splits at.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise WorkError(f"the line is not JSON: {error}", where=where) from error
        if not isinstance(value, dict):
            raise WorkError("the line is not a JSON object", where=where)
        if field not in value:
            raise WorkError(f"the line has no {field!r}", where=where, fix=hint(field, value))
        if not isinstance(value[field], str):
            raise WorkError(f"{field!r} is not text", where=where)
        yield Document(str(value.get("id", f"{path.name}:{number}")), _whole(value[field], where))


def _whole(text: str, where: str) -> str:
    """The text, unless JSON's \\ud800 escapes left half a character in it."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise WorkError("the text holds half of a surrogate pair", where=where)
    return text


def _text(path: Path) -> str:
    try:
        # Bytes are decoded as they are: universal newlines would change the text that is measured.
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise WorkError(
            f"not UTF-8 text (byte {error.start})", where=str(path), fix="convert it to UTF-8"
        ) from error
    except OSError as error:
        raise WorkError(f"cannot be read: {error.strerror}", where=str(path)) from error
