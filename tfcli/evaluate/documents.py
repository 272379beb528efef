"""What the scores of a text's tokens come to: measures, and a sample for each window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tfcli.evaluate.measure import Measure
from tfcli.evaluate.samples import Sample
from tfcli.evaluate.score import Scores
from tfcli.evaluate.uncertainty import exponential, mean_measure
from tfcli.evaluate.windows import Window, unscored
from tfcli.tokenizers.load import Tokenizer
from tfcli.tokenizers.widths import token_bytes


@dataclass(frozen=True)
class JudgedText:
    """The figures of a text.

    Args:
        measures: loss, perplexity and bits per byte; with a reference its KL divergence too.
        samples: the windows. Those of a document are a cluster; where there is one document alone,
            each window is its own.
        bytes: of the scored tokens, UTF-8.
        unscored: tokens with nothing before them.
    """

    measures: list[Measure]
    samples: list[Sample]
    bytes: int
    unscored: int


def judge_documents(
    texts: Sequence[str],
    lengths: Sequence[int],
    windows: Sequence[Window],
    scores: Scores,
    tokenizer: Tokenizer,
) -> JudgedText:
    """The figures of a text.

    Args:
        texts: the documents.
        lengths: their tokens.
        windows: that were scored.
        scores: of their tokens.
        tokenizer: of the model.
    """
    assert scores.window is not None, "`score` tells of windows"
    where = scores.window.long()

    def summed(values: Tensor) -> list[float]:
        found: list[float] = values.new_zeros(len(windows)).index_add_(0, where, values).tolist()
        return found

    tokens = [window.scored for window in windows]
    sizes = _sizes(texts, lengths, windows, tokenizer)
    clusters = [str(window.document) if len(texts) > 1 else None for window in windows]
    columns = {"loss": _Column(summed(scores.loss), tokens, "nats/token")}
    if sum(sizes):
        bits = [loss / math.log(2) for loss in columns["loss"].sums]
        columns["bits_per_byte"] = _Column(bits, sizes, "bits/byte")
    if scores.divergence is not None:
        columns["kl_divergence"] = _Column(summed(scores.divergence), tokens, "nats/token")
    found = {
        name: mean_measure(
            name,
            column.sums,
            weights=column.weights,
            unit=column.unit,
            higher_is_better=False,
            clusters=clusters,
        )
        for name, column in columns.items()
    }
    found["perplexity"] = exponential("perplexity", found["loss"], "")
    samples = [
        Sample(
            id=f"{window.document}:{window.end - window.scored}-{window.end}",
            task="perplexity",
            cluster=clusters[number],
            scores={
                name: column.sums[number] / column.weights[number]
                for name, column in columns.items()
                if column.weights[number]
            },
            weights={name: column.weights[number] for name, column in columns.items()},
        )
        for number, window in enumerate(windows)
    ]
    left = unscored(lengths, windows)
    return JudgedText(list(found.values()), samples, sum(sizes), sum(map(len, left.values())))


@dataclass(frozen=True)
class _Column:
    """A figure of each window: its sum, and the tokens or bytes that it is over."""

    sums: Sequence[float]
    weights: Sequence[int]
    unit: str


def _sizes(
    texts: Sequence[str],
    lengths: Sequence[int],
    windows: Sequence[Window],
    tokenizer: Tokenizer,
) -> list[int]:
    """The UTF-8 bytes of what each window scores."""
    known: dict[int, list[int]] = {}
    sizes = []
    for window in windows:
        text = texts[window.document]
        if window.scored == lengths[window.document]:
            sizes.append(len(text.encode()))
            continue
        each = known.get(window.document)
        if each is None:
            known = {window.document: token_bytes(text, tokenizer)}  # windows come by document
            each = known[window.document]
        sizes.append(sum(each[window.end - window.scored : window.end]))
    return sizes
