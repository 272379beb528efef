"""How many bytes of a text each of its tokens stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise

from tokenizers import pre_tokenizers

from tfcli.tokenizers.backend import run
from tfcli.tokenizers.load import Tokenizer

_BYTES = frozenset(pre_tokenizers.ByteLevel.alphabet())
"""The characters that byte-level tokens are spelt with, one for each byte."""
_FALLBACK = re.compile("<0x[0-9A-F]{2}>")
"""A byte, in a vocabulary that falls back to bytes."""


def token_bytes(text: str, tokenizer: Tokenizer) -> list[int]:
    """The UTF-8 bytes of each token of a text; they add up to the text's.

    What no token covers, such as spaces that the tokenizer drops, counts with the token after it,
    and at the end with the last. Where a character lies in several tokens, each has its own bytes
    of it.
    """
    found = run(tokenizer.backend.encode, text, tokenizer.file, add_special_tokens=False)
    offsets, tokens = found.offsets, found.tokens
    before = [0, *accumulate(len(char.encode()) for char in text)]  # bytes before each character
    ends: list[int] = []
    first = 0
    for at, (_, end) in enumerate(offsets):
        if at + 1 < len(offsets) and offsets[at + 1][0] < end:
            continue  # the next token goes on inside this one's last character
        start, stop = before[offsets[first][0]], before[end]
        if at > first:
            shares = _shares(tokens[first : at + 1], stop - start)
            ends += [min(start + done, stop) for done in accumulate(shares[:-1])]
        ends.append(stop)
        first = at + 1
    if ends:
        ends[-1] = before[-1]
    return [end - start for start, end in pairwise([0, *ends])]


def _shares(tokens: Sequence[str], total: int) -> list[int]:
    """How tokens that share characters divide the bytes of these."""
    bytewise = all(_BYTES.issuperset(token) for token in tokens)

    def width(token: str) -> int:
        if _FALLBACK.fullmatch(token):
            return 1
        return len(token) if bytewise else len(token.replace("\u2581", " ").encode())

    shares = [width(token) for token in tokens]
    shares[0] = max(0, shares[0] + total - sum(shares))  # a space that the tokenizer put before it
    return shares
