"""Search: which documents of a corpus answer a query, by the products of vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tfcli.data.rows import Row as DataRow
from tfcli.errors import UsageError, hint
from tfcli.evaluate.heads.kind import Kind, Question, require_number
from tfcli.evaluate.heads.ranking import AT_K, average_precision
from tfcli.evaluate.tasks.data import rows_of
from tfcli.evaluate.tasks.judged import Row
from tfcli.evaluate.tasks.metric import share

SHOWN = 10
"""Documents of an answer that a sample keeps."""
_TOGETHER = 256  # queries whose products with all documents are in memory at once
_COLUMNS = {
    "query": "text",
    "query_id": "_id",
    "document": "text",
    "document_id": "_id",
    "title": "title",
    "relevant_query": "query-id",
    "relevant_document": "corpus-id",
    "relevance": "score",
}
"""The columns of BEIR's files, which need no `columns`."""
_TEXTS = ("query", "document")


class Retrieval(Kind):
    """Queries, a corpus, and which documents answer a query: ids of documents, or ids with grades,
    in a column of the queries; or rows of a query's id, a document's id and a grade in a split of
    their own. Queries without a relevant document there are left out."""

    predict = "sentence-embeddings"
    asks = _TEXTS
    may_ask: ClassVar[tuple[str, ...]] = tuple(name for name in _COLUMNS if name not in _TEXTS)
    vectors = True
    table: ClassVar = {**{name: share("k") for name in AT_K}, "map": share()}

    def measured(self, rows: Sequence[DataRow]) -> Sequence[DataRow]:
        file = self.task.file
        self.corpus = rows_of(self.task, str(file.corpus_split))
        self._places: dict[str, int] = {}
        for number, row in enumerate(self.corpus):
            id = str(self.value(row, number, "document_id"))
            if id in self._places:
                raise UsageError(
                    f"two documents have the id {id!r}", where=self.where("corpus_split")
                )
            self._places[id] = number
        self._relevance, self._grades = [], {}
        if file.relevance_split is None:
            return rows
        self._relevance = rows_of(self.task, file.relevance_split)
        self._grades = self._read_relevance()
        found = [
            row
            for number, row in enumerate(rows)
            if str(self.value(row, number, "query_id")) in self._grades
        ]
        if not found:
            raise UsageError(
                "no query has a relevant document", where=self.where("relevance_split")
            )
        return found

    def column(self, name: str) -> str:
        return self.task.file.columns.get(name, _COLUMNS[name])

    def data(self) -> Sequence[DataRow]:
        return [*self.rows, *self.corpus, *self._relevance]

    def read_golds(self) -> Sequence[Mapping[int, float]]:
        if self.task.file.gold is None:
            ids = (self.value(row, n, "query_id") for n, row in enumerate(self.rows))
            return [self._grades[str(id)] for id in ids]
        return [self._graded(self.gold(row, n), n) for n, row in enumerate(self.rows)]

    def _read_relevance(self) -> dict[str, dict[int, float]]:
        """A query's id -> its relevant documents with their grades."""
        found: dict[str, dict[int, float]] = {}
        where = self.where("relevance_split")
        for number, row in enumerate(self._relevance):
            query = str(self.value(row, number, "relevant_query"))
            document = self.value(row, number, "relevant_document")
            grade = require_number(self.value(row, number, "relevance"), where, number)
            place = self._place(document, f"row {number} of it", where)
            if grade > 0:
                found.setdefault(query, {})[place] = grade
        return found

    def _graded(self, gold: Any, number: int) -> dict[int, float]:
        where, sample = self.where("gold"), f"sample {number}"
        if isinstance(gold, Mapping):  # a table's columns may give each row the keys of all
            given = {id: grade for id, grade in gold.items() if grade is not None}
        else:
            given = dict.fromkeys((str(id) for id in gold), 1) if isinstance(gold, list) else {}
        found = {
            self._place(id, sample, where): require_number(grade, where, number)
            for id, grade in given.items()
        }
        relevant = {place: grade for place, grade in found.items() if grade > 0}
        if not relevant:
            raise UsageError(
                f"{sample} has no relevant document",
                where=where,
                fix="give a list of ids, or a mapping of ids to grades above 0",
            )
        return relevant

    def _place(self, id: Any, said: str, where: str) -> int:
        if str(id) not in self._places:
            raise UsageError(
                f"{said} names the document {str(id)!r}, which the corpus does not have",
                where=where,
                fix=hint(str(id), self._places),
            )
        return self._places[str(id)]

    def usual(self) -> Sequence[str]:
        return ("ndcg_at_k", "recall_at_k", "mrr_at_k", "map")

    def check_metrics(self) -> None:
        """All fit all golds."""

    def questions(self) -> list[Question]:
        """The documents, then the queries."""
        documents = [
            Question({"text": self._text(row, number)}, row.where)
            for number, row in enumerate(self.corpus)
        ]
        queries = [
            Question({"text": self.value(row, number, "query")}, row.where)
            for number, row in enumerate(self.rows)
        ]
        return [*documents, *queries]

    def _text(self, row: DataRow, number: int) -> Any:
        """A document behind its title, where it has one."""
        text, title = self.value(row, number, "document"), row.values.get(self.column("title"))
        return f"{title} {text}" if title and isinstance(text, str) else text

    def judge(self, answers: Sequence[Any]) -> list[Row]:
        size = len(self.corpus)
        documents, queries = (np.stack(each) for each in (answers[:size], answers[size:]))
        found = []
        for start in range(0, len(queries), _TOGETHER):
            products = queries[start : start + _TOGETHER] @ documents.T
            # Of equal products the document that comes first in the corpus is the better one.
            orders = np.argsort(-products, axis=1, kind="stable")
            found += [self._row(start + n, order.tolist()) for n, order in enumerate(orders)]
        return found

    def _row(self, number: int, order: list[int]) -> Row:
        grades, items = self.golds[number], {}
        for each in self.wanted:
            if each.name == "map":
                items[each.label] = average_precision(order, grades)
            else:
                items[each.label] = AT_K[each.name](order, grades, each.k)
        row = self.rows[number]
        right = {self._id(place): grade for place, grade in grades.items()}
        return Row(
            items,
            str(self.value(row, number, "query")),
            right,
            [self._id(place) for place in order[:SHOWN]],
        )

    def _id(self, place: int) -> str:
        return str(self.value(self.corpus[place], place, "document_id"))
