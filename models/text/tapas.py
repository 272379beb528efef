"""TAPAS (Herzig et al. 2020): BERT that reads a table, with seven kinds of token types.

Reference: transformers `modeling_tapas.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.configs.tapas import TapasConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.layers.embeddings import Embedding, check_ids
from tfcli.models.text.bert import BertEmbeddings, BertModel

SELECTION = ("output_weights", "column_output_weights")  # of the head that selects cells
COLUMN, ROW = 1, 2  # which of a token's types say where in the table it stands; 0 is outside


class TapasEmbeddings(BertEmbeddings):
    """BERT's, with a table for each kind of token types in place of the one for segments."""

    def __init__(self, config: TapasConfig) -> None:
        super().__init__(config)
        for kind, rows in enumerate(config.type_vocab_sizes):
            setattr(self, f"token_type_embeddings_{kind}", Embedding(rows, config.hidden_size))

    def of_kind(self, kind: int, ids: torch.Tensor) -> torch.Tensor:
        """The embeddings of one kind of token types. ids (Tensor): [b, s] -> [b, s, d]"""
        table = getattr(self, f"token_type_embeddings_{kind}")
        assert isinstance(table, nn.Embedding)
        check_ids(ids, table.num_embeddings, f"token_type_ids[:, :, {kind}]")
        return table(ids)


class TapasModel(BertModel):
    """Embeddings, blocks, and a pooler for classifiers of whole inputs."""

    prefix = "tapas"
    config: TapasConfig

    def make_embeddings(self) -> BertEmbeddings:
        return TapasEmbeddings(self.config)

    def placed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Arguments and result as in `BertModel.placed`.

        `token_type_ids` are [b, s, kinds], one id for each of config.type_vocab_sizes.
        """
        token_type_ids: torch.Tensor | None = context.inputs.get("token_type_ids")
        tables, kinds = self.embeddings, len(self.config.type_vocab_sizes)
        assert isinstance(tables, TapasEmbeddings)
        expected = (*x.shape[:2], kinds)
        if token_type_ids is None:
            token_type_ids = torch.zeros(expected, dtype=torch.long, device=x.device)
        if token_type_ids.shape != expected:
            raise ModelError(
                f"token_type_ids has shape {tuple(token_type_ids.shape)}, expected {expected}",
                fix="give an id for each of the config's type_vocab_sizes",
            )
        types = [tables.of_kind(kind, ids) for kind, ids in enumerate(token_type_ids.unbind(-1))]
        if self.config.reset_position_index_per_cell:
            first = first_in_cell(token_type_ids, context)
            last_row = self.config.max_position_embeddings - 1
            positions = (context.positions - first).clamp(max=last_row)
        else:
            positions = self.position_ids(context)
        return tables(x, positions, *types)

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        if name in SELECTION and self.config.init_cell_selection_weights_to_zero:
            return torch.zeros(shape)
        return None

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        if name not in SELECTION:
            return None
        return torch.empty(shape).normal_(0.0, self.config.initializer_range, generator=random)


def first_in_cell(token_type_ids: torch.Tensor, context: Context) -> torch.Tensor:
    """The position of the first token of each token's cell.

    What stands outside of the table is a cell too, and so is each column's head.

    Args:
        token_type_ids (Tensor): [b, s, kinds]
        context: of the forward pass. Padding is in no cell, and packed texts share none.

    Returns:
        [b, s]
    """
    cells = token_type_ids[..., [COLUMN, ROW]]
    together = (cells[:, :, None] == cells[:, None]).all(-1)
    padding, segments = context.sight.padding, context.sight.segments
    if padding is not None:
        together = together & padding[:, None].bool()
    if segments is not None:
        together = together & (segments[:, :, None] == segments[:, None])
    positions = context.positions
    return torch.where(together, positions[:, None], positions[:, :, None]).amin(-1)
