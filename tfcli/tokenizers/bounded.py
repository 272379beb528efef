"""Reading vocabulary files of which nobody vouches for the size or the content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfcli import files
from tfcli.checkpoints.strict_json import LARGE, parse_json
from tfcli.errors import WorkError

MAX_BYTES = 64 << 20
"""Of a vocabulary file. The largest in use, with 900,000 tokens, has 18 MB."""
MAX_JSON_BYTES = 96 << 20
"""Of a tokenizer.json, which spells the same out; the largest in use has 60 MB."""
MAX_SIDE_BYTES = 16 << 20
"""Of a file beside the vocabulary, such as tokenizer_config.json; the largest in use has 2 MB."""
MAX_ENTRIES = 2_000_000
"""Commas in a JSON file; the largest in use has 1.8 million."""
MAX_LISTS = 1 << 20
"""Lists, or objects, in one; the largest in use has 900,000."""
_MARKS = {b",": "entries", b"[": "lists", b"{": "objects"}
MAX_TOKENS = 1 << 22
MAX_ID = 1 << 24
MAX_TOKEN_BYTES = 4096
MAX_SPLITS = 1 << 31
"""Of the squared lengths of all tokens: what finding the merges of a vocabulary costs."""


def read_bounded(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises:
        WorkError: missing, unreadable, no regular file, or longer than `limit` bytes.
    """
    return files.read_bounded(path, limit)


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file without their ends, as many as a vocabulary may have tokens."""
    data = read_bounded(path)
    count = data.count(b"\n")
    if count > MAX_TOKENS:
        raise WorkError(f"has {count:,} lines, at most {MAX_TOKENS:,} are read", where=str(path))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WorkError("is not UTF-8 text", where=f"{path}, line {line}") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def read_json_bytes(path: Path, limit: int) -> bytes:
    """The bytes of a JSON file of which no parser makes more objects than a vocabulary has.

    Raises:
        WorkError: as `read_bounded`, or more values.
    """
    data = read_bounded(path, limit)
    for mark, most in ((b",", MAX_ENTRIES), (b"[", MAX_LISTS), (b"{", MAX_LISTS)):
        if data.count(mark) > most:
            raise WorkError(f"has more than {most:,} {_MARKS[mark]}", where=str(path))
    return data


def read_vocabulary_json(path: Path, limit: int) -> Any:
    """The content of a vocab.json or tokenizer.json of at most `limit` bytes.

    Raises:
        WorkError: as `read_json_bytes`, or no JSON.
    """
    return parse_json(read_json_bytes(path, limit), where=str(path), budget=LARGE)


def read_vocab_json(path: Path) -> dict[str, int]:
    """The content of a vocab.json: token -> id, each id once.

    Raises:
        WorkError: not such a file, too many tokens, or ids that are used twice or are too large.
    """
    vocab = read_vocabulary_json(path, MAX_BYTES)
    if not isinstance(vocab, dict) or not vocab:
        raise WorkError("expected a JSON object of tokens and their ids", where=str(path))
    check_vocab(vocab, path)
    return vocab


def check_vocab(vocab: dict[str, Any], path: Path) -> None:
    """Refuse ids that are no ids or belong to two tokens, and tokens of absurd length."""
    owner: dict[int, str] = {}
    for token, index in vocab.items():
        where = f"{path}, token {token[:40]!r}"
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < MAX_ID:
            raise WorkError(f"the id {str(index)[:40]} is not in 0..{MAX_ID - 1:,}", where=where)
        if index in owner:
            raise WorkError(f"has the id {index} of {owner[index][:40]!r}", where=where)
        if len(token) > MAX_TOKEN_BYTES:
            raise WorkError(f"is longer than {MAX_TOKEN_BYTES:,} characters", where=where)
        owner[index] = token


def check_splits(lengths: Iterable[int], path: Path) -> None:
    """Refuse a vocabulary whose merges would take for ever to find."""
    if sum(length * length for length in lengths) > MAX_SPLITS:
        raise WorkError("its tokens are too long to find their merges", where=str(path))
