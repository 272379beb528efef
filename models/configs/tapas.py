"""TAPAS's config (transformers: TapasConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapasConfig(EncoderConfig):
    """TAPAS.

    Args:
        type_vocab_sizes: rows of each table of token types: segment, column, row, and others.
        reset_position_index_per_cell: positions begin anew in every cell of the table.
    """

    model_type: ClassVar[str] = "tapas"

    max_position_embeddings: int = 1024
    layer_norm_eps: float = 1e-12
    type_vocab_sizes: list[int] = dataclasses.field(
        default_factory=lambda: [3, 256, 256, 2, 256, 256, 10]
    )
    reset_position_index_per_cell: bool = True

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
