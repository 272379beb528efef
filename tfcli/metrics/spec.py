"""Which metrics there are, which way they are better and what they need; imports no library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        kind: of the predictions that it is of, a file of this package.
        library: the package that computes it; None: nothing beside tfcli's own.
        higher: whether more of it is better.
    """

    kind: str
    library: str | None
    higher: bool = True


METRICS: dict[str, Metric] = {
    **dict.fromkeys(("accuracy", "f1", "precision", "recall"), Metric("labels", "sklearn")),
    **dict.fromkeys(("f1_micro", "f1_weighted", "balanced_accuracy"), Metric("labels", "sklearn")),
    "matthews": Metric("labels", "sklearn"),
    **dict.fromkeys(("mse", "mae"), Metric("numbers", "sklearn", higher=False)),
    "r2": Metric("numbers", "sklearn"),
    **dict.fromkeys(("pearson", "spearman"), Metric("numbers", "scipy")),
    "tag_accuracy": Metric("tags", "sklearn"),
    **dict.fromkeys(("entity_f1", "entity_precision", "entity_recall"), Metric("tags", "seqeval")),
    **dict.fromkeys(("exact_match", "answer_f1"), Metric("answers", None)),
    **dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), Metric("texts", "rouge_score")),
    **dict.fromkeys(("bleu", "chrf"), Metric("texts", "sacrebleu")),
    **dict.fromkeys(("wer", "cer"), Metric("texts", "jiwer", higher=False)),
    **dict.fromkeys(("mrr", "recall_at_1", "recall_at_10"), Metric("retrieval", None)),
    "pair_accuracy": Metric("pairs", None),
    **dict.fromkeys(("desirable_reward", "reward_margin"), Metric("judgements", None)),
    "undesirable_reward": Metric("judgements", None, higher=False),
}
"""Name -> what it is."""

OF_ONE_LABEL = ("matthews", "balanced_accuracy")
"""Metrics of labels that are not of rows with several."""
KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(name for name, metric in METRICS.items() if metric.kind == kind)
    for kind in dict.fromkeys(metric.kind for metric in METRICS.values())
}
"""Kind of predictions -> the metrics of it."""
