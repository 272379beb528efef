"""Metrics of texts beside those that are right: predictions and references are texts.

ROUGE is the mean F1 over the texts, with stems, 0 to 1: a plain mean without a bootstrap, so that
the same texts have the same figure. rougeLsum takes each line of a text for a sentence (Lin 2004).
BLEU and chrF are sacrebleu's of all texts together, 0 to 100; the error rates of words and of
characters are jiwer's of all texts together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OF_100 = ("bleu", "chrf")
"""Those that go up to 100."""


def figures(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[str]
) -> Mapping[str, float]:
    """See the module."""
    said, right = list(predictions), list(references)
    rouge = rouge_scores([name for name in names if name.startswith("rouge")], said, right)
    found = {name: sum(scores) / len(scores) for name, scores in rouge.items()}
    if "bleu" in names:
        found["bleu"] = bleu(said, right)
    if "chrf" in names:
        import sacrebleu

        found["chrf"] = float(sacrebleu.corpus_chrf(said, [right]).score)
    for name in ("wer", "cer"):
        if name in names:
            import jiwer

            found[name] = float((jiwer.wer if name == "wer" else jiwer.cer)(right, said))
    return found


def errors(name: str, right: str, said: str) -> tuple[int, int]:
    """What `wer` or `cer` counts in one text: its errors, and the words or characters that are
    right. The rate of all texts together is the sum of the first over that of the second."""
    import jiwer

    found: Any = (jiwer.process_words if name == "wer" else jiwer.process_characters)(right, said)
    right_or_wrong = found.substitutions + found.deletions
    return right_or_wrong + found.insertions, right_or_wrong + found.hits


def bleu(said: Sequence[str], right: Sequence[str], *, in_words: bool = False) -> float:
    """sacrebleu's BLEU of all texts together, 0 to 100.

    Args:
        said: the predictions.
        right: the references.
        in_words: the texts are cut into words already, by spaces, and are not smoothed
            (`sacrebleu -tok none -s none`).
    """
    import sacrebleu

    how: dict[str, Any] = {"tokenize": "none", "smooth_method": "none"} if in_words else {}
    return float(sacrebleu.corpus_bleu(list(said), [list(right)], force=in_words, **how).score)


def rouge_scores(
    names: Sequence[str], said: Sequence[str], right: Sequence[str]
) -> dict[str, list[float]]:
    """ROUGE's F1 of each text: name -> scores, 0 to 1."""
    if not names:
        return {}
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(names), use_stemmer=True)
    scores = [scorer.score(one, other) for one, other in zip(right, said, strict=True)]
    return {name: [float(each[name].fmeasure) for each in scores] for name in names}
