"""The metrics that the file of a language model's task may name."""

from __future__ import annotations

from tfcli.evaluate.tasks.metric import Metric, share

_EXACT = share("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore")
TABLES: dict[str, dict[str, Metric]] = {
    "loglikelihood": {"perplexity": Metric("perplexity", "", False), "acc": share()},
    "loglikelihood_rolling": {
        "word_perplexity": Metric("weighted_perplexity", "a word", False),
        "byte_perplexity": Metric("weighted_perplexity", "a byte", False),
        "bits_per_byte": Metric("bits_per_byte", "bits/byte", False),
    },
    "multiple_choice": {
        **{name: share() for name in ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")},
        "f1": Metric("f1", "share", True, library="f1"),
        "mcc": Metric("matthews_corrcoef", "", True, library="matthews"),
        "brier_score": Metric("brier_score", "", False),
        "ece": Metric("ece", "share", False),
        "exact_match": _EXACT,
    },
    "generate_until": {
        "exact_match": _EXACT,
        "answer_f1": share(),
        **{name: share(library="rouge1") for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")},
        "bleu": Metric("bleu", "0 to 100", True, library="bleu"),
        "chrf": Metric("chrf", "0 to 100", True, library="chrf"),
        "wer": Metric("wer", "errors/word", False, library="wer"),
        "pass_at_k": share("k", "seconds", "memory"),
    },
}
"""Kind of task -> name -> what it is."""
DEFAULTS = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
"""The metrics of a task that names none."""
