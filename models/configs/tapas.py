"""TAPAS's config (transformers: TapasConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.limits import LIMIT, MAX_LABELS

AVERAGES = ("ratio", "first_order", "second_order")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapasConfig(EncoderConfig):
    """TAPAS.

    Args:
        type_vocab_sizes: rows of each table of token types: segment, column, row, and others.
        reset_position_index_per_cell: positions begin anew in every cell of the table.

    The others are of questions about a table:
        max_num_rows: rows that are told apart; those from the last on are one.
        max_num_columns: the same for columns.
        select_one_column: an answer's cells are of a single column.
        allow_empty_column_selection: an answer may have no cell.
        average_logits_per_cell: without a single column, all tokens of a cell have one score.
        temperature: divides the scores of tokens.
        positive_label_weight: of the loss of tokens in the answer, without a single column.
        disable_per_token_loss: the selection of cells has no loss.
        num_aggregation_labels: functions of the selected cells; 0: there are none. With answers
            alone as labels they are none, sum, average and count.
        aggregation_loss_weight: factor on the loss of the function.
        use_answer_as_supervision: an example's number is known, and not how it is computed.
        cell_selection_preference: cells are selected where the probability that some function is
            needed is not above this.
        answer_loss_importance: factor on the loss of the number.
        answer_loss_cutoff: examples whose loss of the number is above it do not count.
        use_normalized_answer_loss: the loss is relative to the number.
        huber_loss_delta: errors above it count linearly.
        aggregation_temperature: divides the scores of functions.
        average_approximation_function: how the average's expectation is estimated.
        use_gumbel_for_cells: cells are drawn in training, and not weighted.
        use_gumbel_for_aggregation: the same for functions.
        init_cell_selection_weights_to_zero: a new head begins with even chances.
    """

    model_type: ClassVar[str] = "tapas"

    max_position_embeddings: int = 1024
    layer_norm_eps: float = 1e-12
    type_vocab_sizes: list[int] = dataclasses.field(
        default_factory=lambda: [3, 256, 256, 2, 256, 256, 10]
    )
    reset_position_index_per_cell: bool = True
    max_num_rows: int = 64
    max_num_columns: int = 32
    select_one_column: bool = True
    allow_empty_column_selection: bool = False
    average_logits_per_cell: bool = False
    temperature: float = 1.0
    positive_label_weight: float = 10.0
    disable_per_token_loss: bool = False
    num_aggregation_labels: int = 0
    aggregation_labels: dict[str, str] | None = None
    no_aggregation_label_index: int | None = None
    aggregation_loss_weight: float = 1.0
    use_answer_as_supervision: bool | None = None
    cell_selection_preference: float | None = None
    answer_loss_importance: float = 1.0
    answer_loss_cutoff: float | None = None
    use_normalized_answer_loss: bool = False
    huber_loss_delta: float | None = None
    aggregation_temperature: float = 1.0
    average_approximation_function: str = "ratio"
    use_gumbel_for_cells: bool = False
    use_gumbel_for_aggregation: bool = False
    init_cell_selection_weights_to_zero: bool = False

    @property
    def by_answer(self) -> bool:
        """Functions are learned from the numbers that they give."""
        return self.num_aggregation_labels > 0 and bool(self.use_answer_as_supervision)

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        labels = data.get("aggregation_labels")
        if isinstance(labels, dict):
            data["aggregation_labels"] = {str(number): name for number, name in labels.items()}
        return data

    def check(self) -> None:
        super().check()
        sizes = self.type_vocab_sizes
        require(
            all(type(size) is int and 1 <= size <= LIMIT for size in sizes),
            "type_vocab_sizes",
            f"must hold numbers from 1 to {LIMIT:,}",
        )
        require(
            len(sizes) >= 3 or not self.reset_position_index_per_cell,
            "type_vocab_sizes",
            "must have columns and rows, in second and third place, for positions in cells",
        )
        self.check_sizes("max_num_rows", "max_num_columns")
        functions = self.num_aggregation_labels
        require(0 <= functions <= MAX_LABELS, "num_aggregation_labels", f"is {functions:,}")
        for key in ("temperature", "aggregation_temperature"):
            require(getattr(self, key) > 0, key, "must be above 0")
        kind = self.average_approximation_function
        known = f"is {kind!r}; built are {', '.join(AVERAGES)}"
        require(kind in AVERAGES, "average_approximation_function", known)
        if self.by_answer:
            four = "must be 4 with use_answer_as_supervision: none, sum, average and count"
            require(functions == 4, "num_aggregation_labels", four)
            preferred = self.cell_selection_preference is not None
            require(preferred, "cell_selection_preference", "is needed")
            delta = self.huber_loss_delta is not None or self.use_normalized_answer_loss
            require(delta, "huber_loss_delta", "is needed")
