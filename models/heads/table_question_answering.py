"""Which cells of a table answer a question, and what is done with them (Herzig et al. 2020).

Reference: transformers `modeling_tapas.py`; names of parameters are the same. There, a mean over
what stands outside of the table has padding in it; here it has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.configs.tapas import TapasConfig
from tfcli.models.errors import ModelError
from tfcli.models.heads.sequence_classification import whole
from tfcli.models.layers.linear import linear
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.table_losses import EPSILON, answer_loss, function_loss, needs_function
from tfcli.models.text.tapas import COLUMN, ROW, SELECTION

NEVER = -1e4
"""Added to the score of what is not to be chosen."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Where in the table each token stands. What is outside of it is in row 0 and column 0.

    Args:
        rows (Tensor): int64 [b, s]
        columns (Tensor): int64 [b, s]
        real (Tensor): float [b, s], 0 for padding.
        shape: rows and columns of a table.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    real: torch.Tensor
    shape: tuple[int, int]

    @property
    def index(self) -> torch.Tensor:
        """The number of each token's cell, [b, s]."""
        return self.rows * self.shape[1] + self.columns

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Over the tokens of each cell, padding left out: [b, s] -> [b, rows, columns]"""
        empty = values.new_zeros(len(values), self.shape[0] * self.shape[1])
        return empty.scatter_add(1, self.index, values * self.real).unflatten(1, self.shape)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The same, where a cell without tokens has 0."""
        return self.sum(values) / self.sum(self.real).clamp(min=1)

    def there(self) -> torch.Tensor:
        """Which cells have tokens: float [b, rows, columns] of 0/1."""
        return (self.sum(self.real) > 0).float()

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """What its cell has, for each token: [b, rows, columns] -> [b, s]"""
        return values.flatten(1).gather(1, self.index)


class TableQuestionAnswering(Model):
    """Logits [b, s]: above 0 where a token is of the answer; `logits_aggregation` [b, functions].

    `labels` are [b, s]: 1 for a token of the answer, else 0. Further keywords, which the loss needs
    where the config says so:
        aggregation_labels (Tensor): [b], the function.
        float_answer (Tensor): [b], the number that answers, NaN where none does.
        numeric_values (Tensor): [b, s], the number of each token's cell, NaN where it has none.
        numeric_values_scale (Tensor): [b, s], how many tokens share it.
        table_mask (Tensor): [b, s], 1 for a token of a cell; by default those of rows from 1 on.
    """

    task = "table-question-answering"
    pools = True
    keywords: ClassVar[tuple[str, ...]] = (
        "aggregation_labels",
        "float_answer",
        "numeric_values",
        "numeric_values_scale",
        "table_mask",
    )
    config: TapasConfig

    def add_head(self) -> None:
        size, functions = self.config.hidden_size, self.config.num_aggregation_labels
        self.dropout = nn.Dropout(self.config.hidden_dropout_prob)
        for name in SELECTION:
            self.register_parameter(name, nn.Parameter(torch.zeros(size)))
            bias = name.replace("weights", "bias")
            self.register_parameter(bias, nn.Parameter(torch.zeros([])))
        self.aggregation_classifier = linear(size, functions, bias=True) if functions else None

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        cells = self.cells(x, whole(inputs))
        if self.aggregation_classifier is not None:
            pooled = self.body.pooled(x, inputs.get("attention_mask"))
            output.logits_aggregation = self.aggregation_classifier(pooled)
        x = self.dropout(x)
        scores = self.scores(x, "output") / self.config.temperature
        columns = None
        if self.config.select_one_column:
            columns = self.column_scores(self.scores(x, "column_output"), cells)
            output.logits = of_one_column(scores, columns, cells)
        elif self.config.average_logits_per_cell:
            output.logits = cells.spread(cells.mean(scores))
        else:
            output.logits = scores
        if labels is None:
            return
        if num_target_tokens is not None:
            raise ModelError(
                "the loss of questions is a mean over them", fix="leave out num_target_tokens"
            )
        if columns is None:
            selection = self.token_loss(output.logits, labels, cells)
        else:
            selection = column_loss(scores, columns, labels, cells)
        output.loss = self.whole_loss(selection, output, inputs, labels, cells)

    def cells(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> Cells:
        """The cells of the tokens of x [b, s, d]."""
        types, mask = inputs.get("token_type_ids"), inputs.get("attention_mask")
        shape = (self.config.max_num_rows, self.config.max_num_columns)
        if types is None:
            types = torch.zeros(*x.shape[:2], ROW + 1, dtype=torch.long, device=x.device)
        real = torch.ones(x.shape[:2], device=x.device) if mask is None else mask.float()
        rows, columns = types[..., ROW], types[..., COLUMN]
        return Cells(rows.clamp(max=shape[0] - 1), columns.clamp(max=shape[1] - 1), real, shape)

    def scores(self, x: torch.Tensor, kind: str) -> torch.Tensor:
        """A score for each token, float32: x (Tensor): [b, s, d] -> [b, s]"""
        weights, bias = (self.get_parameter(f"{kind}_{name}") for name in ("weights", "bias"))
        return (x @ weights + bias).float()

    def column_scores(self, scores: torch.Tensor, cells: Cells) -> torch.Tensor:
        """A column's score is the mean of its cells': [b, s] -> [b, columns]"""
        there = cells.there()
        count = there.sum(1)
        missing = count == 0
        missing[:, 0] = not self.config.allow_empty_column_selection
        mean = (cells.mean(scores) * there).sum(1) / count.clamp(min=1)
        return mean + NEVER * missing

    def token_loss(self, logits: torch.Tensor, labels: torch.Tensor, cells: Cells) -> torch.Tensor:
        """The loss of each example where cells of all columns can be selected: [b]"""
        weight = torch.where(labels == 0, 1.0, self.config.positive_label_weight)
        loss = F.binary_cross_entropy_with_logits(logits, labels.float(), weight, reduction="none")
        return (loss * cells.real).sum(1) / (cells.real.sum(1) + EPSILON)

    def whole_loss(
        self,
        selection: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor,
        cells: Cells,
    ) -> torch.Tensor:
        """Of the selection, the function and the number, a mean over examples: []

        Raises:
            ModelError: an input is missing that the config says is the label.
        """
        config, functions = self.config, output.logits_aggregation
        counts = 0.0 if config.disable_per_token_loss else 1.0
        if functions is None:
            return counts * selection.mean()
        functions = functions.float()
        if not config.by_answer:
            (target,) = self.given(inputs, "aggregation_labels")
            loss = F.cross_entropy(functions, target, reduction="none")
            return counts * selection.mean() + config.aggregation_loss_weight * loss.mean()
        names = ("float_answer", "numeric_values", "numeric_values_scale")
        answer, values, scale = self.given(inputs, *names)
        assert output.logits is not None
        needed = needs_function(answer, functions, labels, config)
        table = inputs.get("table_mask")
        table = (cells.rows > 0 if table is None else table).float()
        loss = config.aggregation_loss_weight * function_loss(functions, needed)
        number, near = answer_loss(
            output.logits, functions, answer, needed, values, scale, table, config
        )
        loss = (loss + number) * near
        return counts * (selection * (1 - needed)).mean() + loss.mean()

    def given(self, inputs: Mapping[str, Any], *names: str) -> list[torch.Tensor]:
        """Inputs that the loss cannot do without."""
        for name in names:
            if inputs.get(name) is None:
                raise ModelError(f"the loss of this config needs {name}", where=name)
        return [inputs[name] for name in names]


def of_one_column(scores: torch.Tensor, columns: torch.Tensor, cells: Cells) -> torch.Tensor:
    """Each token has the mean score of its cell, far below 0 outside of the best column.

    Args:
        scores (Tensor): [b, s]
        columns (Tensor): [b, columns]
        cells: of the tokens.

    Returns:
        [b, s]
    """
    best = columns.argmax(-1)
    chosen = F.one_hot(best, columns.shape[1]).float()
    chosen[:, 0] = 0
    kept = cells.there() * chosen[:, None]
    return cells.spread(cells.mean(scores) + NEVER * (1 - kept))


def column_loss(
    scores: torch.Tensor, columns: torch.Tensor, labels: torch.Tensor, cells: Cells
) -> torch.Tensor:
    """The loss of the answer's column, and of its cells among those of the column.

    Args:
        scores (Tensor): [b, s]
        columns (Tensor): [b, columns]
        labels (Tensor): [b, s] of 0/1. The answer's column is the one with most of them, and
            column 0 where there is none.
        cells: of the tokens.

    Returns:
        [b]
    """
    labels = labels.float()
    votes = torch.zeros_like(columns).scatter_add(1, cells.columns, labels)
    target = votes.argmax(-1)  # the first one where all are 0
    loss = F.cross_entropy(columns, target, reduction="none")
    empty = labels.new_zeros(len(labels), cells.shape[0] * cells.shape[1])
    selected = empty.scatter_reduce(1, cells.index, labels, "amax").unflatten(1, cells.shape)
    counted = cells.there() * F.one_hot(target, columns.shape[1])[:, None]
    each = F.binary_cross_entropy_with_logits(cells.mean(scores), selected, reduction="none")
    inner = (each * counted).sum((1, 2)) / (counted.sum((1, 2)) + EPSILON)
    return loss + inner * (votes.amax(-1) > 0)
