"""Which tokenizer lies in a folder, from its files; it is not built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfcli.errors import WorkError
from tfcli.inspect.spec import TokenizerFacts
from tfcli.limits import MAX_TOKENIZER_JSON, MAX_VOCABULARY
from tfcli.tokenizers.bounded import read_lines, read_vocabulary_json
from tfcli.tokenizers.files import find_vocabulary
from tfcli.tokenizers.tiktoken_file import is_tiktoken


def find_tokenizer(folder: Path) -> TokenizerFacts | None:
    """The tokenizer that `load_tokenizer` would read; None where there is none.

    Raises:
        WorkError: a file that is no tokenizer.
    """
    found = find_vocabulary(folder)
    if found is None:
        return None
    path = found.files[0]
    try:
        kind, size = _READ[found.kind](*found.files)
    except (AttributeError, IndexError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise WorkError("not a tokenizer's file", where=str(path)) from error
    return TokenizerFacts(type=kind, vocab_size=size, file=path.name)


def _fast(path: Path) -> tuple[str, int | None]:
    content = read_vocabulary_json(path, MAX_TOKENIZER_JSON)
    vocab = content["model"]["vocab"]
    # BPE and WordPiece: token -> id. Unigram: a list of [token, score].
    tokens = {item[0] for item in vocab} if isinstance(vocab, list) else set(vocab)
    tokens |= {token["content"] for token in content.get("added_tokens") or ()}
    return str(content["model"].get("type", "unknown")), len(tokens)


def _pieces(path: Path) -> tuple[str, int | None]:
    return "tiktoken" if is_tiktoken(path) else "SentencePiece", None


_READ: dict[str, Callable[..., tuple[str, int | None]]] = {
    "json": _fast,
    "marian": lambda model, vocab: (
        "SentencePiece",
        len(read_vocabulary_json(vocab, MAX_VOCABULARY)),
    ),
    "pieces": _pieces,
    "pairs": lambda vocab, merges: ("BPE", len(read_vocabulary_json(vocab, MAX_VOCABULARY))),
    "words": lambda path: ("WordPiece", len(read_lines(path))),
}
