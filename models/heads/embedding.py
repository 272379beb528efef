"""One vector for a text, for search and comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from tfcli.models.backbone import first_states, last_states
from tfcli.models.errors import ModelError, hint
from tfcli.models.heads.sequence_classification import whole
from tfcli.models.model import Model

POOLINGS = ("mean", "cls", "last")


class Embedding(Model):
    """The backbone alone. Logits [b, d] are the pooled states.

    Attributes:
        pooling: `mean` of the tokens, the first (`cls`), or the `last`.
        normalize: scale each vector to length 1.
    """

    task = "embedding"
    headless = True
    pooling = "mean"
    normalize = True

    def set_pooling(self, pooling: str, normalize: bool = True) -> None:
        """Choose how states become one vector.

        Raises:
            ModelError: no such pooling.
        """
        if pooling not in POOLINGS:
            raise ModelError(f"unknown pooling {pooling!r}", fix=hint(pooling, POOLINGS))
        self.pooling, self.normalize = pooling, normalize

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        vectors = pool(x, whole(inputs).get("attention_mask"), self.pooling)
        return F.normalize(vectors, dim=-1) if self.normalize else vectors

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        raise ModelError("an embedding model has no loss of its own", fix="leave out labels")


def pool(x: torch.Tensor, attention_mask: torch.Tensor | None, pooling: str) -> torch.Tensor:
    """States to one vector a row.

    Args:
        x (Tensor): [b, s, d]
        attention_mask (Tensor): [b, s] of 0/1, or None.
        pooling: one of `POOLINGS`.

    Returns:
        [b, d]
    """
    if pooling == "cls":
        return first_states(x, attention_mask)
    if pooling == "last":
        return last_states(x, attention_mask)
    if attention_mask is None:
        return x.mean(1)
    weights = attention_mask[:, :, None].to(x.dtype)
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)
