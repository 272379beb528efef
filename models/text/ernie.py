"""ERNIE (Sun et al. 2019, 2020): BERT whose tokens may say what task they are read for.

Reference: transformers `modeling_ernie.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from tfcli.models.configs.ernie import ErnieConfig
from tfcli.models.context import Context
from tfcli.models.layers.embeddings import Embedding, check_ids
from tfcli.models.text.bert import BertEmbeddings, BertModel


class ErnieEmbeddings(BertEmbeddings):
    """BERT's, and those of tasks where the config asks for them."""

    def __init__(self, config: ErnieConfig) -> None:
        super().__init__(config)
        self.task_type_embeddings = (
            Embedding(config.task_type_vocab_size, config.hidden_size)
            if config.use_task_id
            else None
        )

    def of_tasks(self, ids: torch.Tensor | None) -> torch.Tensor | None:
        """ids (Tensor): [b, s]; None: all 0 -> [b, s, d], or None in a model without tasks"""
        table = self.task_type_embeddings
        if table is None:
            return None
        if ids is None:
            ids = torch.zeros(1, 1, dtype=torch.long, device=table.weight.device)
        check_ids(ids, table.num_embeddings, "task_type_ids")
        return table(ids)


class ErnieModel(BertModel):
    """Embeddings, blocks, and a pooler. Input `task_type_ids` [b, s], 0 by default."""

    config: ErnieConfig

    prefix = "ernie"
    inputs: ClassVar[tuple[str, ...]] = ("token_type_ids", "task_type_ids")

    def make_embeddings(self) -> BertEmbeddings:
        return ErnieEmbeddings(self.config)

    def placed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the words -> [b, s, d]; see `BertModel.placed`."""
        assert isinstance(self.embeddings, ErnieEmbeddings)
        tasks = self.embeddings.of_tasks(context.inputs.get("task_type_ids"))
        return super().placed(x if tasks is None else x + tasks, context)
