"""The bytes that each token of a vocabulary stands for within a text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tfcli.errors import UsageError
from tfcli.tokenizers.byte_letters import byte_letters
from tfcli.tokenizers.load import Tokenizer

_SPACE = "\u2581"
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_BYTE_OF = {letter: byte for byte, letter in enumerate(byte_letters())}
_SAMPLE = 'a {"b": [1, -2.5e3], "c\u00e9": "\u4e16 d"}\n'


def bytes_of_tokens(tokenizer: Tokenizer) -> tuple[list[bytes], list[int]]:
    """What each token adds to a text, in UTF-8, and the ids that add nothing to any.

    Returns:
        of every id its bytes, and the ids of special tokens and of gaps in the vocabulary

    Raises:
        UsageError: a tokenizer whose texts are not its tokens one after another.
    """
    spelling = _spelling(tokenizer)
    added = tokenizer.backend.get_added_tokens_decoder()
    names = {index: token for token, index in tokenizer.backend.get_vocab().items()}
    found, empty = [], []
    for index in range(tokenizer.vocab_size):
        token, own = names.get(index), added.get(index)
        if token is None or (own is not None and own.special):
            empty.append(index)
            found.append(b"" if token is None else token.encode())
        else:
            found.append(spelling(token) if own is None else token.encode())
    ids = tokenizer.encode(_SAMPLE, add_special_tokens=False)
    if b"".join(found[each] for each in ids).lstrip() != _SAMPLE.encode():
        raise _unknown(tokenizer)
    return found, empty


def _spelling(tokenizer: Tokenizer) -> Callable[[str], bytes]:
    """From a token as the vocabulary spells it to its bytes."""
    try:
        decoder = json.loads(tokenizer.backend.to_str())["decoder"] or {}
    except Exception as error:
        raise _unknown(tokenizer) from error
    steps = decoder.get("decoders", [decoder])
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        return _byte_level
    spaces = any(
        step.get("type") == "Replace" and step["pattern"].get("String") == _SPACE for step in steps
    )
    if "Metaspace" in kinds or spaces:
        return _spaced
    raise _unknown(tokenizer)


def _byte_level(token: str) -> bytes:
    return bytes(_BYTE_OF[char] for char in token)


def _spaced(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode()


def _unknown(tokenizer: Tokenizer) -> UsageError:
    return UsageError(
        "the tokenizer's texts are not its tokens' bytes one after another, so that no grammar "
        "can be followed token by token",
        where=tokenizer.file,
        fix="use a model with byte-level BPE or SentencePiece",
    )
