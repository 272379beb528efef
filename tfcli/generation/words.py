"""The ids of texts that must not come, or must."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tfcli.generation.processors import NEVER
from tfcli.generation.strategies.forced import Word
from tfcli.tokenizers.load import Tokenizer

Bias = list[tuple[tuple[int, ...], float]]
"""See `Rules.bias`."""


def unwanted(texts: Iterable[str], tokenizer: Tokenizer) -> Bias:
    """What keeps texts from coming."""
    return [(ids, NEVER) for ids in sorted(_ids_of(texts, tokenizer))]


def biases(numbers: Mapping[str, float], tokenizer: Tokenizer) -> Bias:
    """What makes texts likelier, by a number each."""
    return [
        (ids, number)
        for text, number in numbers.items()
        for ids in sorted(_ids_of([text], tokenizer))
    ]


def forced(words: Iterable[str | Sequence[str]], tokenizer: Tokenizer) -> list[Word]:
    """The ids of words, each with its ways: of two of which one begins the other, the shorter is
    enough.

    Args:
        words: a text, or several of which one is enough.
        tokenizer: of the model.
    """
    found = []
    for word in words:
        ways = _ids_of([word] if isinstance(word, str) else word, tokenizer)
        least = (
            way
            for way in ways
            if not any(way != other and way[: len(other)] == other for other in ways)
        )
        found.append(tuple(sorted(least)))
    return found


def _ids_of(texts: Iterable[str], tokenizer: Tokenizer) -> set[tuple[int, ...]]:
    """The ids of texts, of each alone and after a space."""
    forms = (form for text in texts for form in (text, f" {text}"))
    found = {tuple(tokenizer.encode(form, add_special_tokens=False)) for form in forms}
    return found - {()}
