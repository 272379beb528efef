"""Which tokenizer lies in a folder, from its files; it is not built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfcli.errors import WorkError
from tfcli.files import inside
from tfcli.inspect.spec import TokenizerFacts
from tfcli.tokenizers.bounded import (
    MAX_BYTES,
    MAX_JSON_BYTES,
    MAX_SIDE_BYTES,
    read_bounded_json,
    read_lines,
)


def find_tokenizer(folder: Path) -> TokenizerFacts | None:
    """The first tokenizer file of a folder; None where there is none.

    Raises:
        WorkError: a file that is no tokenizer.
    """
    for name, read in _TOKENIZERS.items():
        if (folder / name).is_file():
            path = inside(folder, name)
            try:
                kind, size = read(path)
            except (AttributeError, IndexError, KeyError, TypeError, UnicodeDecodeError) as error:
                raise WorkError("not a tokenizer's file", where=str(path)) from error
            return TokenizerFacts(type=kind, vocab_size=size, file=name)
    return None


def has_chat_template(folder: Path) -> bool:
    """Whether a folder holds a chat template.

    Raises:
        WorkError: tokenizer_config.json cannot be read.
    """
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    name = "tokenizer_config.json"
    path = inside(folder, name) if (folder / name).is_file() else None
    content = {} if path is None else read_bounded_json(path, MAX_SIDE_BYTES)
    return isinstance(content, dict) and bool(content.get("chat_template"))


def _fast(path: Path) -> tuple[str, int | None]:
    content = read_bounded_json(path, MAX_JSON_BYTES)
    vocab = content["model"]["vocab"]
    # BPE and WordPiece: token -> id. Unigram: a list of [token, score].
    tokens = {item[0] for item in vocab} if isinstance(vocab, list) else set(vocab)
    tokens |= {token["content"] for token in content.get("added_tokens") or ()}
    return str(content["model"].get("type", "unknown")), len(tokens)


_TOKENIZERS: dict[str, Callable[[Path], tuple[str, int | None]]] = {
    "tokenizer.json": _fast,
    "tokenizer.model": lambda path: ("SentencePiece", None),
    "vocab.json": lambda path: ("BPE", len(read_bounded_json(path, MAX_BYTES))),
    "vocab.txt": lambda path: ("WordPiece", len(read_lines(path))),
}
