"""How alike two texts are, by the cosine of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tfcli.evaluate.heads.kind import Kind, Question, require_number
from tfcli.evaluate.heads.kinds.classification import NUMBER
from tfcli.evaluate.tasks.judged import Row


class Similarity(Kind):
    """A row has two texts and how alike people find them, on any scale: the correlation of that
    with the cosines is measured."""

    predict = "sentence-embeddings"
    asks = ("sentence1", "sentence2")
    vectors = True
    table: ClassVar = {name: NUMBER[name] for name in ("spearman", "pearson")}
    fixed = ("normalize",)

    def read_golds(self) -> Sequence[Any]:
        where = self.where("gold")
        return [require_number(self.gold(row, n), where, n) for n, row in enumerate(self.rows)]

    def usual(self) -> Sequence[str]:
        return ("spearman", "pearson")

    def check_metrics(self) -> None:
        """Both fit all golds."""

    def options(self) -> dict[str, Any]:
        return {"normalize": True}

    def questions(self) -> list[Question]:
        """The first text of a row, its second one, and so on."""
        return [
            Question({"text": self.value(row, number, name)}, row.where)
            for number, row in enumerate(self.rows)
            for name in self.asks
        ]

    def judge(self, answers: Sequence[Any]) -> list[Row]:
        asked, found = self.questions(), []
        for number, gold in enumerate(self.golds):
            one, other = (np.asarray(v, np.float64) for v in answers[2 * number : 2 * number + 2])
            cosine = float(one @ other)
            prompt = "\n".join(each.inputs["text"] for each in asked[2 * number : 2 * number + 2])
            items = {each.label: (gold, cosine) for each in self.wanted}
            found.append(Row(items, prompt, gold, cosine))
        return found
