"""BPE dropout: another segmentation of the same text in each epoch, from a seed.

Provilkov et al. 2020: at each merge of a word, every possible merge is left out with probability
p, and the best of the others is done; the word is finished when none is left. A model that sees
many segmentations of the same words overfits a small text later.

The tokenizers library has the same dropout, but draws from a source that no one can seed, so a run
could not be repeated or resumed. Here the library gives the unmerged symbols once, and the merging
is done in numpy, for all words side by side: a step of the loop below is one merge in each word
that is not finished.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcli.data.tokens import framed
from tfcli.errors import UsageError
from tfcli.tokenizers.backend import run

if TYPE_CHECKING:
    from tfcli.tokenizers.load import Tokenizer

MAX_WORD = 2_000
"""The work grows with the square of a word's length; real words are far below."""
CHUNK = 2_000_000
"""Symbols that are merged side by side, which bounds the memory."""


class MergeTable:
    """A BPE tokenizer's merges as arrays.

    Args:
        serialized: the content of tokenizer.json.

    Raises:
        UsageError: the tokenizer is not a BPE.
    """

    def __init__(self, serialized: dict[str, Any]) -> None:
        model = serialized["model"]
        if model.get("type") != "BPE":
            raise UsageError(
                f"bpe_dropout needs a BPE tokenizer, this one is {model.get('type')}",
                where="bpe_dropout",
                fix="bpe_dropout: 0",
            )
        vocab: dict[str, int] = model["vocab"]
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        prefix = len(model.get("continuing_subword_prefix") or "")
        left = np.array([vocab[a] for a, _ in pairs], dtype=np.int64)
        right = np.array([vocab[b] for _, b in pairs], dtype=np.int64)
        merged = np.array([vocab[a + b[prefix:]] for a, b in pairs], dtype=np.int64)
        self.width = max(vocab.values(), default=0) + 1
        keys = left * self.width + right
        # The library lets the last of two equal merges win.
        _, last = np.unique(keys[::-1], return_index=True)
        chosen = len(keys) - 1 - last
        self.keys, self.rank, self.merged = keys[chosen], chosen, merged[chosen]

    def find(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The index in this table of each pair's merge, -1 where there is none; all `[n]`."""
        inside = (left < self.width) & (right < self.width)
        keys = np.where(inside, left * self.width + right, -1)
        at = np.searchsorted(self.keys, keys)
        at[at == len(self.keys)] = 0
        return np.where(self.keys[at] == keys, at, -1) if len(self.keys) else at - 1


def merge_words(
    ids: np.ndarray,
    words: np.ndarray,
    table: MergeTable,
    dropout: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Merge symbols within words.

    Args:
        ids: `[n]` int64, symbols of all words one after another.
        words: `[n]` int64, which word each symbol is in; never falls.
        table: the merges.
        dropout: probability that a possible merge is left out when a word's next is chosen.
        random: where the choices come from.

    Returns:
        `[m]` the ids that remain, in order
    """
    ids = ids.copy()
    kept = np.ones(len(ids), dtype=bool)
    at = np.arange(len(ids))  # the symbols of unfinished words
    while len(at) > 1:
        left, right = at[:-1], at[1:]
        found = table.find(ids[left], ids[right])
        possible = np.flatnonzero((found >= 0) & (words[left] == words[right]))
        if dropout:
            possible = possible[random.random(len(possible)) >= dropout]
        if not len(possible):
            break
        # The best merge of each word: the lowest rank, then the leftmost.
        word = words[left[possible]]
        order = np.lexsort((possible, table.rank[found[possible]], word))
        best = possible[order[np.unique(word[order], return_index=True)[1]]]
        ids[left[best]] = table.merged[found[best]]
        kept[right[best]] = False
        unfinished = words[left[best]]
        at = at[kept[at]]
        place = np.minimum(np.searchsorted(unfinished, words[at]), len(unfinished) - 1)
        at = at[unfinished[place] == words[at]]
    return ids[kept]


class SubwordSampler:
    """Gives each epoch's segmentation of the same documents.

    Args:
        documents: the texts; each is framed as `token_stream` frames it.
        tokenizer: of type BPE; it is not changed.
        dropout: in (0, 1).

    Raises:
        UsageError: not a BPE, or one that takes a whole text as one word.
    """

    def __init__(self, documents: Sequence[str], tokenizer: Tokenizer, dropout: float) -> None:
        serialized = tokenizer.backend.to_str()
        self.table = MergeTable(json.loads(serialized))
        self.dropout = dropout
        self.ids, self.words = _symbols(documents, tokenizer, serialized)
        longest = int(np.bincount(self.words).max()) if len(self.words) else 0
        if longest > MAX_WORD:
            raise UsageError(
                f"bpe_dropout needs a tokenizer that splits text into words; here a word has "
                f"{longest:,} symbols, at most {MAX_WORD:,} are allowed",
                where="bpe_dropout",
                fix="bpe_dropout: 0",
            )

    def sample(self, seed: int) -> np.ndarray:
        """The ids of all documents in a row, `[n]` int64; a seed always gives the same."""
        random = np.random.default_rng(seed)
        pieces = []
        start = 0
        while start < len(self.ids):
            end = start + CHUNK
            if end < len(self.ids):  # cut where a word ends
                end = int(np.searchsorted(self.words, self.words[end]))
            span = slice(start, end)
            pieces.append(
                merge_words(self.ids[span], self.words[span], self.table, self.dropout, random)
            )
            start = end
        return np.concatenate(pieces) if pieces else self.ids


def _symbols(
    documents: Sequence[str], tokenizer: Tokenizer, serialized: str
) -> tuple[np.ndarray, np.ndarray]:
    """The unmerged symbols of all documents and the word that each is in, both `[n]` int64."""
    from tokenizers import Tokenizer as Backend

    splitter = Backend.from_str(serialized)
    splitter.model.dropout = 1.0  # every merge is left out: what remains are the symbols
    ids, words, count = [], [], 0
    found = run(splitter.encode_batch, list(documents), tokenizer.file)
    for number, encoding in enumerate(found, 1):
        last = number == len(documents)
        symbols = framed(encoding.ids, tokenizer, add_eos=True, last=last)
        # Special tokens belong to no word: each becomes one of its own.
        own = [-1 if word is None else word for word in encoding.word_ids]
        own += [-1] * (len(symbols) - len(own))
        starts = np.diff(own, prepend=-2) != 0
        starts |= np.array(own) < 0
        ids.append(np.array(symbols, dtype=np.int64))
        words.append(np.cumsum(starts) - 1 + count)
        count += int(starts.sum())
    return np.concatenate(ids), np.concatenate(words)
