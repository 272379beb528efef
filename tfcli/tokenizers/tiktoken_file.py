"""tiktoken rank files: a token's bytes in base64 and its rank on each line; the rank is the id.

A tokenizer.model of Llama 3 and the *.tiktoken files of other models are of this kind. The order of
merges is the order of ranks: of two neighbours, those are joined first whose join has the lowest.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import models

from tfcli.errors import WorkError
from tfcli.limits import MAX_ID, MAX_TOKEN
from tfcli.tokenizers.bounded import check_splits, read_bounded, read_lines
from tfcli.tokenizers.bpe_files import QWEN_WORDS, ByteLevel, byte_level
from tfcli.tokenizers.byte_letters import byte_letters
from tfcli.tokenizers.declared import Declared
from tfcli.tokenizers.special import add_tokens, bos_eos_template, fill_holes

_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\s*(\n|$)")
LLAMA3_WORDS = QWEN_WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""Also that of cl100k; numbers are cut into threes."""
WORDS = {"QWenTokenizer": QWEN_WORDS, "Qwen2Tokenizer": QWEN_WORDS}
"""Class -> how text is cut into words, where it is not as in Llama 3."""


def is_tiktoken(file: Path) -> bool:
    """Whether a file begins as a rank file does, whatever its name."""
    return _LINE.match(read_bounded(file)) is not None


def load_tiktoken(file: Path, declared: Declared) -> tuple[Backend, dict[str, int]]:
    """Build the tokenizer of a rank file. It has the special tokens that the folder declares.

    Returns:
        the backend, and role -> id of its special tokens

    Raises:
        WorkError: a broken file, or ranks that do not begin with the 256 bytes.
    """
    ranks = read_ranks(file)
    spelt = byte_letters()
    vocab = {"".join(spelt[byte] for byte in token): rank for token, rank in ranks.items()}
    merges = [
        ("".join(spelt[byte] for byte in left), "".join(spelt[byte] for byte in right))
        for left, right in _merges(ranks)
    ]
    model = models.BPE(fill_holes(vocab, declared), merges, ignore_merges=True)
    words = WORDS.get(declared.family or "", LLAMA3_WORDS)
    space = declared.flag("add_prefix_space", False)
    backend = byte_level(model, ByteLevel({}, words=words), space)
    ids = add_tokens(backend, declared, {})
    backend.post_processor = bos_eos_template(backend, declared, ids)
    return backend, ids


def read_ranks(file: Path) -> dict[bytes, int]:
    """Token -> rank, in the order of ranks.

    Raises:
        WorkError: no rank file; the error names the line.
    """
    ranks: dict[bytes, int] = {}
    owner: dict[int, int] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line:
            continue
        where = f"{file}, line {number}"
        spelt, _, rank = line.partition(" ")
        try:
            token = base64.b64decode(spelt, validate=True)
        except (binascii.Error, ValueError):
            token = b""
        rank = rank.strip()
        if not token or not rank.isascii() or not rank.isdigit():
            raise WorkError(f"{line[:60]!r} is not a token in base64 and its rank", where=where)
        if len(rank) > 9 or int(rank) >= MAX_ID:
            raise WorkError(f"the rank {rank[:40]} is not in 0..{MAX_ID - 1:,}", where=where)
        if len(token) > MAX_TOKEN:
            raise WorkError(f"is longer than {MAX_TOKEN:,} bytes", where=where)
        if token in ranks:
            raise WorkError(f"has the token {token[:40]!r} for a second time", where=where)
        if int(rank) in owner:
            raise WorkError(f"has the rank of line {owner[int(rank)]}", where=where)
        ranks[token] = int(rank)
        owner[int(rank)] = number
    lacking = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if lacking:
        raise WorkError(
            f"has no rank for {len(lacking)} of the 256 bytes, such as {lacking[0]:#04x}",
            where=str(file),
            fix="it is not a whole rank file; get it again",
        )
    check_splits(map(len, ranks), file)
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every way to join two tokens to a third, by the rank of the third."""
    merges = []
    for token in ranks:
        halves = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [(left, right) for left, right in halves if left in ranks and right in ranks]
        merges += sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges
