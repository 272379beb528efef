"""Answers to questions: the best span of a context, from all of its windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tfcli.metrics.compute import compute
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.train.batch import Batch
from tfcli.train.feeds.spans import Window
from tfcli.train.measures.measure import Measure

LONGEST = 30
"""Tokens of an answer at most, as in transformers' example."""


@dataclass(frozen=True)
class Asked:
    """The questions that are measured.

    Args:
        windows: the row of each window, the window, and the place that says that it has no answer.
        contexts: of each row.
        answers: of each row: the texts that are right; none where there is no answer.
    """

    windows: Sequence[tuple[int, Window, int]]
    contexts: Sequence[str]
    answers: Sequence[Sequence[str]]


class SpanMeasure(Measure):
    """The span of a window with the greatest sum of its start's and its end's logits; of a row's
    windows that of the greatest. Where some question has no answer, none is said where the least
    sum for that of all windows is greater (Rajpurkar et al. 2018).

    Args:
        names: of the metrics.
        asked: the validation's questions.
    """

    def __init__(self, names: Sequence[str], asked: Asked) -> None:
        self.names, self.asked = names, asked
        self.may_be_none = not all(asked.answers)

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        """Of each window: the row, the score and the text of its best span, and the score of
        none."""
        assert output.logits is not None, "its head has them"
        logits = output.logits.float().cpu()
        return [self._answer(each, number) for each, number in zip(logits, numbers, strict=True)]

    def _answer(self, logits: torch.Tensor, number: int) -> tuple[int, float, str, float]:
        row, window, nowhere = self.asked.windows[number]
        count = len(window.offsets)
        starts, ends = logits[window.first : window.first + count].unbind(-1)
        sums = starts[:, None] + ends[None]
        spans = torch.ones(count, count, dtype=torch.bool).triu().tril(LONGEST - 1)
        best = int(sums.masked_fill(~spans, -torch.inf).argmax())
        first, last = divmod(best, count)
        text = self.asked.contexts[row][window.offsets[first][0] : window.offsets[last][1]]
        return row, float(sums[first, last]), text, float(logits[nowhere].sum())

    def figures(self, answers: Sequence[tuple[int, float, str, float]]) -> Mapping[str, float]:
        """The metrics of what is said to each question."""
        return compute(self.names, self.said(answers), self.asked.answers)

    def said(self, answers: Sequence[tuple[int, float, str, float]]) -> list[str]:
        """The best answer to each question, from all of its windows; empty for none."""
        best: dict[int, tuple[float, str]] = {}
        none: dict[int, float] = {}
        for row, score, text, nothing in answers:
            if row not in best or score > best[row][0]:
                best[row] = score, text
            none[row] = min(nothing, none.get(row, nothing))
        rows = range(len(self.asked.answers))
        return [
            "" if self.may_be_none and none[row] > best[row][0] else best[row][1] for row in rows
        ]
