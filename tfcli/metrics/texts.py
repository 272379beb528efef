"""Metrics of texts beside those that are right: predictions and references are texts.

ROUGE is the mean F1 over the texts, with stems, 0 to 1; `rougeLsum` takes each line for a sentence
and `rougeL` a text for one. BLEU and chrF are sacrebleu's of all texts
together, 0 to 100; the word error rate is jiwer's of all texts together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def figures(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[str]
) -> Mapping[str, float]:
    """See the module."""
    said, right = list(predictions), list(references)
    found = _rouge([name for name in names if name.startswith("rouge")], said, right)
    if "bleu" in names or "chrf" in names:
        import sacrebleu

        known: dict[str, Any] = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}
        for name in known.keys() & set(names):
            found[name] = float(known[name](said, [right]).score)
    if "wer" in names:
        import jiwer

        found["wer"] = float(jiwer.wer(right, said))
    return found


def _rouge(names: list[str], said: list[str], right: list[str]) -> dict[str, float]:
    if not names:
        return {}
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(names, use_stemmer=True)
    scores = [scorer.score(one, other) for one, other in zip(right, said, strict=True)]
    return {name: sum(each[name].fmeasure for each in scores) / len(scores) for name in names}
