"""Metrics of answers to questions, as SQuAD's own script has them (Rajpurkar et al. 2016, 2018).

Predictions are texts, empty where there is no answer; references are lists of texts that are right,
empty where there is none. The best of them counts. Capitals, marks and articles do not.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_MARKS = str.maketrans("", "", string.punctuation)


def figures(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> Mapping[str, float]:
    """`exact_match` and `answer_f1`, the mean of both over all questions, 0 to 1."""
    known = {"exact_match": _exact, "answer_f1": _overlap}
    count = len(predictions)
    return {
        name: sum(
            max(known[name](said, one) for one in right or [""])
            for said, right in zip(predictions, references, strict=True)
        )
        / count
        for name in names
    }


def plain(text: str) -> str:
    """A text without what does not count."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_MARKS)).split())


def _exact(said: str, right: str) -> float:
    return float(plain(said) == plain(right))


def _overlap(said: str, right: str) -> float:
    """The F1 of the words that both texts have."""
    ours, theirs = plain(said).split(), plain(right).split()
    if not ours or not theirs:
        return float(ours == theirs)
    both = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * both / (len(ours) + len(theirs))
