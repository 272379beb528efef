"""The special tokens of GLM's blanks, by the names that its tokenizers give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfcli.errors import UsageError

if TYPE_CHECKING:
    from tfcli.tokenizers.load import Tokenizer

# FlagAI's and the published tokenizers' names, in the order in which they are looked for.
_NAMES = {
    "mask": ("[MASK]",),
    "sentence_mask": ("[sMASK]",),
    "generation_mask": ("[gMASK]",),
    "sop": ("<|startofpiece|>", "[sop]", "sop"),
    "eop": ("<|endofpiece|>", "[eop]", "eop"),
}
_FIXED = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "<|endoftext|>", "[dBLOCK]")
_ENDS = ".?!;:。？！；：…\n"  # noqa: RUF001 - full-width signs end sentences too


@dataclass(frozen=True)
class BlankTokens:
    """Ids.

    Args:
        mask: stands for a few words, `[MASK]`.
        sentence_mask: for a sentence, `[sMASK]`.
        generation_mask: for a text of any length, `[gMASK]`.
        sop: begins what fills a blank.
        eop: ends it.
        fixed: never masked: what begins and ends texts.
        ends: a sentence ends after one of these.
    """

    mask: int
    sentence_mask: int
    generation_mask: int
    sop: int
    eop: int
    fixed: frozenset[int] = frozenset()
    ends: frozenset[int] = frozenset()

    @property
    def masks(self) -> tuple[int, int, int]:
        """The three masks."""
        return self.mask, self.sentence_mask, self.generation_mask

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> BlankTokens:
        """Those of a tokenizer. Without masks of their own, sentences and texts have `[MASK]`.

        Raises:
            UsageError: it lacks `[MASK]`, or what begins or ends a blank's content.
        """
        vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
        found = {
            role: next((vocabulary[name] for name in names if name in vocabulary), None)
            for role, names in _NAMES.items()
        }
        for role in ("sentence_mask", "generation_mask"):
            if found[role] is None:
                found[role] = found["mask"]
        for role, index in found.items():
            if index is None:
                raise UsageError(
                    f"the tokenizer has no token {_NAMES[role][0]}",
                    where="tokenizer",
                    fix="add GLM's tokens to it (added_tokens.json or tokenizer_config.json)",
                )
        ids = {role: index for role, index in found.items() if index is not None}
        special = {index for name, index in vocabulary.items() if name in _FIXED}
        special |= {*ids.values(), *tokenizer.special_ids.values()}
        ends = {
            index
            for name, index in vocabulary.items()
            if index not in special and any(end in name for end in _ENDS)
        }
        return cls(**ids, fixed=frozenset(special), ends=frozenset(ends))
