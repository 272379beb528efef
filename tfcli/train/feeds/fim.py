"""Documents with their middle put last, so that a model that writes on learns to fill in.

Bavarian et al. 2022: a document is cut at two random characters into a prefix, a middle and a
suffix, which are tokenized apart and put together with tokens that say which is which:

    PSM    [prefix] prefix [suffix] suffix [middle] middle
    SPM    [prefix] [suffix] suffix [middle] prefix middle

The second form is the paper's `SPMv2`, which shares its tokens with the first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfcli.data.tokens import framed
from tfcli.errors import UsageError
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.feeds.feed import derive_seed
from tfcli.train.objectives.spec import FIMSection

_ROLES = ("prefix", "suffix", "middle")
_SPELLINGS = {
    "StarCoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "SantaCoder": ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    "Qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "CodeLlama": ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"),
    "CodeLlama, as written": ("<PRE>", "<SUF>", "<MID>"),
    # The hole stands where the middle was, so the suffix follows it.
    "DeepSeek": (
        "<\uff5cfim\u2581begin\uff5c>",
        "<\uff5cfim\u2581hole\uff5c>",
        "<\uff5cfim\u2581end\uff5c>",
    ),
}
_TOGETHER = 1_000  # documents encoded at a time, on all cores
_SPACE = "\u2581"
_SIGN = "\u263a"  # what no other token begins with
_ENDS = ("\u2581<EOT>", "<EOT>")


@dataclass(frozen=True)
class FIMTokens:
    """Ids.

    Args:
        prefix: before what stands before the middle.
        suffix: before what stands after it.
        middle: before the middle itself.
        end: after the middle, where the model has such a token beside the one that ends a text.
    """

    prefix: int
    suffix: int
    middle: int
    end: int | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> FIMTokens:
        """Those of a tokenizer, in the spelling of the family that it is from.

        Raises:
            UsageError: none of the spellings is whole; says what is missing of the nearest.
        """
        vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
        for names in _SPELLINGS.values():
            if all(name in vocabulary for name in names):
                prefix, suffix, middle = (vocabulary[name] for name in names)
                end = next((vocabulary[name] for name in _ENDS if name in vocabulary), None)
                return cls(prefix, suffix, middle, end)
        nearest = max(
            _SPELLINGS.values(), key=lambda names: sum(map(vocabulary.__contains__, names))
        )
        missing = [name for name in nearest if name not in vocabulary]
        raise UsageError(
            f"the tokenizer lacks {' and '.join(missing)}, which say where a middle was",
            where="fim",
            fix="a model that was trained to fill in, such as StarCoder, CodeLlama, Qwen-Coder or "
            "DeepSeek-Coder; for a new model, name them in special_tokens of `tfcli tokenizer`",
        )


@dataclass(frozen=True)
class Part:
    """A part of a document.

    Args:
        text: of it.
        inner: it does not begin the document.
    """

    text: str
    inner: bool = False


@dataclass(frozen=True)
class FIMStream:
    """All documents as one stream of tokens, some of them rearranged, anew in each epoch.

    Args:
        documents: the texts.
        tokenizer: frames each, as where none is rearranged.
        given: how many are rearranged, and how.
        seed: what is drawn follows from it, the epoch and the document's number.
    """

    documents: Sequence[str]
    tokenizer: Tokenizer
    given: FIMSection
    seed: int

    @cached_property
    def tokens(self) -> FIMTokens:
        """Those of the tokenizer."""
        return FIMTokens.of(self.tokenizer)

    def ids(self, epoch: int | str) -> np.ndarray:
        """The tokens of an epoch, [n] int32."""
        last, pieces = len(self.documents) - 1, []
        for start in range(0, len(self.documents), _TOGETHER):
            stop = min(start + _TOGETHER, len(self.documents))
            for number, ids in enumerate(self._documents(epoch, range(start, stop)), start):
                whole = framed(ids, self.tokenizer, True, last=number == last)
                pieces.append(np.array(whole, np.int32))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)

    def _documents(self, epoch: int | str, numbers: range) -> list[list[int]]:
        """The ids of some documents, with the special tokens around each."""
        drawn = [
            _draw(self.documents[number], self.given, derive_seed(self.seed, "fim", epoch, number))
            for number in numbers
        ]
        ids = iter(encode_parts([part for parts, _ in drawn for part in parts], self.tokenizer))
        begin, end = self.tokenizer.prefix, self.tokenizer.suffix
        found = []
        for parts, spm in drawn:
            made = [next(ids) for _ in parts]
            if len(made) == 3:
                prefix, middle, suffix = made
                made = [rearranged(prefix, middle, suffix, self.tokens, spm=spm)]
            found.append([*begin, *made[0], *end])
        return found


def _draw(text: str, given: FIMSection, seed: int) -> tuple[list[Part], bool]:
    """A document as its parts, one or three, and whether the suffix comes first."""
    chance = random.Random(seed)
    if chance.random() >= given.rate:
        return [Part(text)], False
    first, second = sorted(chance.randint(0, len(text)) for _ in range(2))
    parts = [
        Part(text[:first]),
        Part(text[first:second], inner=True),
        Part(text[second:], inner=True),
    ]
    return parts, chance.random() < given.spm_rate


def encode_parts(parts: Sequence[Part], tokenizer: Tokenizer) -> list[list[int]]:
    """The ids of parts of documents, without special tokens.

    Some tokenizers put a space before a text that has none. Within a document that would be one too
    many (Roziere et al. 2023, section 2.3).
    """
    first = tokenizer.backend.encode("a", add_special_tokens=False).tokens[0]
    if not first.startswith(_SPACE):
        return tokenizer.encode_batch([part.text for part in parts], add_special_tokens=False)
    sign = tokenizer.encode(_SIGN, add_special_tokens=False)
    texts = [_SIGN + part.text if part.inner else part.text for part in parts]
    every = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [ids[len(sign) :] if part.inner else ids for part, ids in zip(parts, every, strict=True)]


def rearranged(
    prefix: Sequence[int],
    middle: Sequence[int],
    suffix: Sequence[int],
    tokens: FIMTokens,
    *,
    spm: bool,
) -> list[int]:
    """The parts of a document with its middle last.

    Args:
        spm: the suffix comes first.
    """
    end = [] if tokens.end is None else [tokens.end]
    if spm:
        head = [tokens.prefix, tokens.suffix, *suffix, tokens.middle, *prefix]
    else:
        head = [tokens.prefix, *prefix, tokens.suffix, *suffix, tokens.middle]
    return [*head, *middle, *end]
