"""Reading vocabulary files of which nobody vouches for the size or the content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfcli import files
from tfcli.checkpoints.strict_json import LARGE, parse_json
from tfcli.errors import WorkError
from tfcli.limits import (
    MAX_ENTRIES,
    MAX_ID,
    MAX_LISTS,
    MAX_SPLITS,
    MAX_TOKEN,
    MAX_TOKENS,
    MAX_VOCABULARY,
)

# The largest vocabulary in use has 900,000 tokens: 18 MB, or 60 MB as a tokenizer.json with 1.8
# million commas and 900,000 lists, and 2 MB of tokenizer_config.json.
_MARKS = {b",": "entries", b"[": "lists", b"{": "objects"}


def read_bounded(path: Path, limit: int = MAX_VOCABULARY) -> bytes:
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
    vocab = read_vocabulary_json(path, MAX_VOCABULARY)
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
        if len(token) > MAX_TOKEN:
            raise WorkError(f"is longer than {MAX_TOKEN:,} characters", where=where)
        owner[index] = token


def check_splits(lengths: Iterable[int], path: Path) -> None:
    """Refuse a vocabulary whose merges would take for ever to find."""
    if sum(length * length for length in lengths) > MAX_SPLITS:
        raise WorkError("its tokens are too long to find their merges", where=str(path))
