"""Metrics of the tags of words: predictions and references are lists of names, one for each word.

Entities are what seqeval finds: `B-PER I-PER` is one, and counts where its name and its ends are
right. `tag_accuracy` is the share of words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain


def figures(
    names: Sequence[str], predictions: Sequence[list[str]], references: Sequence[list[str]]
) -> Mapping[str, float]:
    """See the module."""
    found: dict[str, float] = {}
    if "tag_accuracy" in names:
        from sklearn.metrics import accuracy_score

        both = (list(chain.from_iterable(each)) for each in (references, predictions))
        found["tag_accuracy"] = float(accuracy_score(*both))
    if found.keys() != set(names):
        from seqeval import metrics

        known = {
            "entity_f1": metrics.f1_score,
            "entity_precision": metrics.precision_score,
            "entity_recall": metrics.recall_score,
        }
        right, said = list(references), list(predictions)
        for name in set(names) - {"tag_accuracy"}:
            found[name] = float(known[name](right, said, zero_division=0))
    return found


def has_entities(names: Sequence[str]) -> bool:
    """Whether tags say where entities begin: `B-PER`, `I-PER`, `O`."""
    return all(name == "O" or name[:2] in ("B-", "I-", "E-", "S-", "L-", "U-") for name in names)
