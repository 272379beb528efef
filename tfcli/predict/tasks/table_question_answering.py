"""`table-question-answering`: the cells of a table that answer a question, by TAPAS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.config import BaseConfig
from tfcli.models.configs.tapas import TapasConfig
from tfcli.models.text.tapas import COLUMN, ROW
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import TableQuestionAnsweringOptions
from tfcli.predict.task import Sample, Task, require_finite
from tfcli.predict.texts import longest
from tfcli.tokenizers.tables import read_table
from tfcli.tokenizers.tapas import KINDS, encode_table

SEGMENT, PREVIOUS = KINDS.index("segment_ids"), KINDS.index("prev_labels")
LIKELY = 0.5
"""Cells that are likelier are selected."""
Cell = tuple[int, int]


class TableQuestionAnswering(Task[TableQuestionAnsweringOptions]):
    """A row has a `table` and a `query`, or a list of these about the one table. A table is a
    mapping of columns to lists of texts, a list of rows whose first one names the columns, or the
    path of a .csv file."""

    name = "table-question-answering"
    inputs = ("table", "query")
    options_class = TableQuestionAnsweringOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, cls.name)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        table = _table(row)
        queries = row["query"] if isinstance(row["query"], list) else [row["query"]]
        if not queries or not all(isinstance(each, str) and each for each in queries):
            raise WorkError("'query' is no text, and no list of texts")
        if len(table) < 2:
            raise WorkError("the table has no rows")
        cut = self.options.truncation
        batch = encode_table(
            self.parts.tokenizer,
            table,
            queries,
            truncation=cut,
            max_length=(self.options.max_length or longest(self.parts)) if cut else None,
            padding="right",
        )
        inputs = {
            "input_ids": torch.tensor(batch.ids),
            "attention_mask": torch.tensor(batch.attention_mask),
            "token_type_ids": torch.tensor(batch.token_type_ids),
        }
        if self.options.sequential:
            return [Sample(inputs, table)]
        return [
            Sample({name: tensor[n] for name, tensor in inputs.items()}, table)
            for n in range(len(queries))
        ]

    def forward(self, batch: dict[str, Tensor]) -> Sequence[Any]:
        """Of each question its selected cells and the number of its function, or None."""
        if not self.options.sequential:
            return self._answers(batch)
        found = []
        for talk in range(len(batch["input_ids"])):
            found.append(self._talk({name: tensor[talk] for name, tensor in batch.items()}))
        return found

    def _talk(self, inputs: dict[str, Tensor]) -> list[tuple[list[Cell], int | None]]:
        """The answers to questions [questions, s] of which each knows the one before."""
        found: list[tuple[list[Cell], int | None]] = []
        for number in range(len(inputs["input_ids"])):
            one = {name: tensor[number : number + 1].clone() for name, tensor in inputs.items()}
            if found:
                types, chosen = one["token_type_ids"][0], set(found[-1][0])
                marks = [
                    token[SEGMENT] == 1 and (token[ROW] - 1, token[COLUMN] - 1) in chosen
                    for token in types.tolist()
                ]
                types[:, PREVIOUS] = torch.tensor(marks).to(types)
            found += self._answers(one)
        return found

    def _answers(self, batch: dict[str, Tensor]) -> list[tuple[list[Cell], int | None]]:
        output = self.parts.model(**batch)
        assert output.logits is not None, "its head has them"
        logits = require_finite(output.logits.float().cpu(), self.parts.name)
        functions = output.logits_aggregation
        chances = logits.sigmoid() * batch["attention_mask"].cpu()
        types = batch["token_type_ids"].cpu()
        return [
            (
                selected(chances[n], types[n]),
                None if functions is None else int(functions[n].argmax()),
            )
            for n in range(len(logits))
        ]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Any]) -> Any:
        table, answers = samples[0].about, outputs[0] if self.options.sequential else outputs
        found = [self._answer(table, *answer) for answer in answers]
        return found if len(found) > 1 else found[0]

    def _answer(self, table: list[list[str]], cells: list[Cell], number: int | None) -> Any:
        config = self.parts.config
        assert isinstance(config, TapasConfig), "its family has the head"
        texts = [table[row + 1][column] for row, column in cells]
        answer: dict[str, Any] = {
            "answer": ", ".join(texts),
            "coordinates": [list(cell) for cell in cells],
            "cells": texts,
        }
        if number is not None and config.aggregation_labels:
            answer["aggregator"] = config.aggregation_labels[str(number)]
            if number != config.no_aggregation_label_index:
                answer["answer"] = f"{answer['aggregator']} > {answer['answer']}"
        return answer


def selected(chances: Tensor, types: Tensor) -> list[Cell]:
    """The cells whose tokens are likely on average to be of the answer: row and column from 0.

    Args:
        chances (Tensor): [s]
        types (Tensor): [s, kinds]
    """
    found: dict[Cell, list[float]] = {}
    for chance, token in zip(chances.tolist(), types.tolist(), strict=True):
        cell = (token[ROW] - 1, token[COLUMN] - 1)
        if min(cell) >= 0 and token[SEGMENT] == 1:
            found.setdefault(cell, []).append(chance)
    return sorted(cell for cell, each in found.items() if sum(each) / len(each) > LIKELY)


def _table(row: Mapping[str, Any]) -> list[list[str]]:
    """The rows of a table, the first with the names of its columns.

    Raises:
        WorkError: it is none.
    """
    table = row["table"]
    if isinstance(table, str):
        return read_table(row["folder"] / table)
    if isinstance(table, Mapping):
        columns = list(table.values())
        if not all(isinstance(column, list) for column in columns):
            raise WorkError("'table' is no mapping of columns to lists")
        if len({len(column) for column in columns}) > 1:
            raise WorkError("the columns of 'table' are of different lengths")
        return [list(table), *(list(cells) for cells in zip(*columns, strict=True))]
    if isinstance(table, list) and all(isinstance(row, list) for row in table):
        return table
    raise WorkError("'table' is no mapping of columns, no list of rows and no path")
