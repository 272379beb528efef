"""Answers that are parts of a context, as SQuAD's own script judges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tfcli.errors import UsageError
from tfcli.evaluate.heads.kind import Kind
from tfcli.evaluate.heads.kinds.classification import shown
from tfcli.evaluate.tasks.judged import Row
from tfcli.evaluate.tasks.metric import share
from tfcli.metrics.compute import compute


class QuestionAnswering(Kind):
    """A row has a question, a context, and the texts that answer it: a text, a list of them, or
    SQuAD's `{text: [...], answer_start: [...]}`. The best of several counts, and none of them
    means that there is no answer (SQuAD 2): then the model may say so."""

    predict = "question-answering"
    asks = ("question", "context")
    table: ClassVar = {"exact_match": share(), "answer_f1": share()}
    fixed = ("top_k",)

    def read_golds(self) -> Sequence[Any]:
        golds = [texts_of(self.gold(row, n)) for n, row in enumerate(self.rows)]
        for number, gold in enumerate(golds):
            if gold is None:
                raise UsageError(
                    f"the gold of sample {number} is no text, no list of texts, and has none as "
                    "`text`",
                    where=self.where("gold"),
                )
        self.answerless = not all(golds)
        if self.answerless and self.task.file.options.get("handle_impossible_answer") is False:
            raise UsageError(
                "some questions have no answer, and handle_impossible_answer is false",
                where=self.where("options"),
                fix="leave it out: the model may then say that there is none",
            )
        return golds

    def usual(self) -> Sequence[str]:
        return ("exact_match", "answer_f1")

    def check_metrics(self) -> None:
        """Both fit all golds."""

    def options(self) -> dict[str, Any]:
        return {"top_k": 1, **({"handle_impossible_answer": True} if self.answerless else {})}

    def judge(self, answers: Sequence[Any]) -> list[Row]:
        names, found = [each.name for each in self.wanted], []
        for question, gold, answer in zip(self.questions(), self.golds, answers, strict=True):
            said = answer["answer"] if answer else ""  # no part of the context could be one
            items = compute(names, [said], [gold])
            found.append(Row(items, shown(question.inputs), gold, said))
        return found


def texts_of(gold: Any) -> list[str] | None:
    """The texts of a gold: one, several, those of SQuAD's mapping or of mappings with `text` or
    `answer`; no texts for nothing. None: it is none of these."""
    if isinstance(gold, Mapping):
        gold = gold.get("text", gold.get("answer", 0))
    if gold is None:
        return []
    listed = gold if isinstance(gold, list) else [gold]
    texts = [
        each.get("text", each.get("answer")) if isinstance(each, Mapping) else each
        for each in listed
    ]
    return texts if all(isinstance(each, str) for each in texts) else None
