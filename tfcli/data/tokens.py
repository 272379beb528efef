"""From documents to token ids: one framing for training, calibration and evaluation.

A document is its text between the special tokens that its tokenizer declares: for most causal
models one BOS before it, for some none. Nobody else adds or leaves out a BOS. A model that was
trained with one gives wrong figures without it, and with two.

Where documents are joined, an EOS ends each, if the tokenizer has one. When the EOS is also the
token that begins the next document, it stands there once; the last document gets one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfcli.tokenizers.load import Tokenizer

if TYPE_CHECKING:
    import numpy as np

_TOGETHER = 1000  # documents encoded at a time, on all cores


def document_ids(text: str, tokenizer: Tokenizer, *, add_eos: bool = False) -> list[int]:
    """The ids of one document, framed."""
    return framed(tokenizer.encode(text), tokenizer, add_eos, last=False)


def token_stream(
    documents: Sequence[str], tokenizer: Tokenizer, *, add_eos: bool = True
) -> np.ndarray:
    """The ids of all documents, one after another.

    Args:
        documents: the texts.
        tokenizer: whose special tokens frame each document.
        add_eos: end each document with the EOS, where there is one and nothing else marks the end.

    Returns:
        [n] int32
    """
    import numpy as np

    last = len(documents) - 1
    pieces = [
        np.array(framed(ids, tokenizer, add_eos, last=number == last), dtype=np.int32)
        for start in range(0, len(documents), _TOGETHER)
        for number, ids in enumerate(
            tokenizer.encode_batch(documents[start : start + _TOGETHER]), start
        )
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)


def framed(ids: list[int], tokenizer: Tokenizer, add_eos: bool, *, last: bool) -> list[int]:
    """The ids of a document, with the EOS that ends it where documents are joined.

    Args:
        last: no other document follows, whose beginning could mark the end of this one.
    """
    eos = tokenizer.eos_id
    begins_the_next = not last and bool(tokenizer.prefix) and tokenizer.prefix[0] == eos
    if not add_eos or eos is None or begins_the_next or (ids and ids[-1] == eos):
        return ids
    return [*ids, eos]
