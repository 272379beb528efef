"""Heads that FlagAI's classes need and the core has no task for: states as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tfcli.models.context import Context
from tfcli.models.layers.masks import AttentionMask, Sight, open_empty_rows
from tfcli.models.model import Model
from tfcli.models.text.bert import BertMaskedLM, BertModel


class MaskedBert(BertModel):
    """BERT that takes a mask of who sees whom, `visible` [b or 1, 1, s, s], in place of padding."""

    inputs = ("token_type_ids", "visible")

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        visible: torch.Tensor | None = context.inputs.get("visible")
        if visible is not None:
            context.sight = GivenSight(context.sight, visible)
        return super().forward(x, context)


class GivenSight(Sight):
    """The sight of one forward pass, where the caller says who sees whom."""

    def __init__(self, sight: Sight, visible: torch.Tensor) -> None:
        super().__init__(sight.queries, sight.past, sight.device)
        self.given = AttentionMask(open_empty_rows(visible.bool()))

    def full(self, *, radius: int | None = None) -> AttentionMask:
        """See `Sight.full`."""
        return self.given


class BertStates(Model):
    """The states themselves. Logits [b, s, d]; with them comes a pooler, see `pool`."""

    task = "embedding"
    headless = True
    pools = True
    body_class = MaskedBert

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return x

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, d], what the pooler makes of each row's first state"""
        return self.body.pooled(x, None)


class BertWords(BertMaskedLM):
    """BERT's masked-language-model head on states that a given mask limits."""

    body_class = MaskedBert
