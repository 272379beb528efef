"""A tokenizer as llguidance knows it, and llguidance itself where it is installed."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

from tfcli.errors import WorkError
from tfcli.tokenizers.load import Tokenizer
from tfcli.tokenizers.token_texts import bytes_of_tokens

_KNOWN: OrderedDict[tuple[int, tuple[int, ...]], tuple[Tokenizer, Any]] = OrderedDict()
"""A tokenizer's address and the ends -> the tokenizer, which so keeps its address, and its
vocabulary. One of 260,000 tokens takes seconds to make, and a server meets many grammars."""
_MOST_KNOWN = 4
_LOCK = Lock()


def vocabulary_of(tokenizer: Tokenizer, ends: tuple[int, ...]) -> Any:
    """A tokenizer as llguidance knows it; the last few are kept."""
    key = id(tokenizer), ends
    with _LOCK:  # the models of a server ask from threads of their own
        if key not in _KNOWN:
            tokens, special = bytes_of_tokens(tokenizer)
            vocabulary = _Vocabulary(tokenizer, tokens, special, ends[0])
            _KNOWN[key] = tokenizer, library().LLTokenizer(vocabulary, eos_token=list(ends))
            while len(_KNOWN) > _MOST_KNOWN:
                _KNOWN.popitem(last=False)
        _KNOWN.move_to_end(key)
        return _KNOWN[key][1]


class _Vocabulary:
    """A tokenizer as llguidance asks for it."""

    def __init__(
        self, tokenizer: Tokenizer, tokens: list[bytes], special: list[int], end: int
    ) -> None:
        self._tokenizer = tokenizer
        self.tokens, self.special_token_ids = tokens, special
        self.eos_token_id, self.bos_token_id = end, tokenizer.bos_id
        self.is_tokenizer_wrapper = True

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, allow_special=False)


def library() -> Any:
    """The module llguidance.

    Raises:
        WorkError: it is not installed.
    """
    try:
        import llguidance
    except ImportError:
        raise WorkError(
            "texts that follow a grammar need llguidance",
            fix="pip install 'tfcli[grammar]'",
        ) from None
    return llguidance
