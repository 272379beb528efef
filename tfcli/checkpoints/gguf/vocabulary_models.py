"""The parts of a tokenizer.json that GGUF's keys say, for each kind of tokenizer."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.checkpoints.gguf.pretokenizers import ignores_merges, normalizes, pre_tokenizer
from tfcli.checkpoints.gguf.vocabulary import BYTE, CONTROL, NORMAL, ROLES, SPACE, UNKNOWN, UNUSED
from tfcli.errors import WorkError
from tfcli.tokenizers.bounded import check_splits

KEY = "tokenizer.ggml."


LOWERCASE, ACCENTS = "normalizer.lowercase", "normalizer.strip_accents"
_TAKEN = {
    "llama": {"unk_token": 0, "bos_token": 1, "eos_token": 2},
    "bert": {
        "pad_token": 0,
        "unk_token": 100,
        "bos_token": 101,
        "sep_token": 102,
        "mask_token": 103,
    },
}
"""Kind -> role -> the id that llama.cpp takes where no key names one."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer keys of a file, checked.

    Args:
        kind: `gpt2`, `llama` or `bert`.
        pre: the pre-tokenizer's name.
        tokens, types: of each id.
        metadata: all keys.
        where: the file.
    """

    kind: str
    pre: str
    tokens: list[str]
    types: Sequence[int]
    metadata: Mapping[str, Any]
    where: str

    def flag(self, name: str, default: bool) -> bool:
        """A yes-or-no key."""
        value = self.metadata.get(KEY + name, default)
        return value if isinstance(value, bool) else default

    def role(self, name: str) -> str | None:
        """The token of a role, or None."""
        index = self.metadata.get(KEY + ROLES[name])
        if index is None:
            # What llama.cpp takes then; a file whose token of this id is an ordinary one has none.
            taken = _TAKEN.get(self.kind, {}).get(name, len(self.tokens))
            special = taken < len(self.tokens) and self.types[taken] in (CONTROL, UNKNOWN)
            return self.tokens[taken] if special else None
        if not isinstance(index, int) or not 0 <= index < len(self.tokens):
            raise self.refuse(KEY + ROLES[name], f"{str(index)[:20]} is no id")
        return self.tokens[index]

    def refuse(self, key: str, what: str) -> WorkError:
        """An error that names the file and the key."""
        return WorkError(f"{key}: {what}", where=self.where)


def _vocab(vocabulary: Vocabulary) -> dict[str, int]:
    found: dict[str, int] = {}
    for index, (text, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        if kind == UNUSED:
            continue
        if text in found:
            raise vocabulary.refuse(f"{KEY}tokens[{index}]", f"is token {found[text]} again")
        found[text] = index
    return found


def _byte_level(vocabulary: Vocabulary) -> dict[str, Any]:
    merges = vocabulary.metadata.get(KEY + "merges")
    if not isinstance(merges, list):
        raise vocabulary.refuse(KEY + "merges", "missing")
    pairs = [text.split(" ") for text in merges if isinstance(text, str)]
    if any(len(pair) != 2 for pair in pairs) or len(pairs) != len(merges):
        raise vocabulary.refuse(KEY + "merges", "one of them is not two parts")
    cut = pre_tokenizer(vocabulary.pre)
    if cut is None:
        raise vocabulary.refuse(KEY + "pre", f"{vocabulary.pre[:40]!r} is not covered")
    return {
        "normalizer": {"type": "NFC"} if normalizes(vocabulary.pre) else None,
        "pre_tokenizer": cut,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignores_merges(vocabulary.pre),
            "vocab": _vocab(vocabulary),
            "merges": pairs,
        },
    }


def _sentencepiece(vocabulary: Vocabulary) -> dict[str, Any]:
    """A piece is what two others join to; the higher its score, the sooner it is made."""
    scores = vocabulary.metadata.get(KEY + "scores")
    if not isinstance(scores, array) or len(scores) != len(vocabulary.tokens):
        raise vocabulary.refuse(KEY + "scores", "expected a number for each token")
    vocab = _vocab(vocabulary)
    pieces = [text for text, index in vocab.items() if vocabulary.types[index] == NORMAL]
    check_splits(map(len, pieces), Path(vocabulary.where))
    parts = set(pieces)
    joined = sorted((text for text in pieces if len(text) > 1), key=lambda t: -scores[vocab[t]])
    merges = [
        [text[:cut], text[cut:]]
        for text in joined
        for cut in range(1, len(text))
        if text[:cut] in parts and text[cut:] in parts
    ]
    prefix = vocabulary.flag("add_space_prefix", True)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    steps = [{"type": "Prepend", "prepend": SPACE}, spaces] if prefix else [spaces]
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unk = next(
        (t for t, k in zip(vocabulary.tokens, vocabulary.types, strict=True) if k == UNKNOWN), None
    )
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unk,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": BYTE in vocabulary.types,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def _wordpiece(vocabulary: Vocabulary) -> dict[str, Any]:
    vocab = {}
    for index, (text, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        if kind in (CONTROL, UNKNOWN):
            vocab[text] = index
        elif kind != UNUSED:
            plain = text.removeprefix(SPACE) if text.startswith(SPACE) else f"##{text}"
            vocab[plain] = index
    unk = vocabulary.role("unk_token") or "[UNK]"
    if unk not in vocab:
        raise vocabulary.refuse(KEY + "unknown_token_id", "missing")
    lowercase = vocabulary.flag(LOWERCASE, True)
    strips = vocabulary.flag(ACCENTS, lowercase)
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None if strips == lowercase else strips,
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": unk,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }


BUILDERS = {"gpt2": _byte_level, "llama": _sentencepiece, "bert": _wordpiece}
"""GGUF's kind -> what makes normalizer, pre-tokenizer, decoder and model."""
