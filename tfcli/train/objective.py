"""What training makes smaller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from tfcli.models.losses import token_loss
from tfcli.models.output import ModelOutput
from tfcli.train.batches import Batch


class Objective(Protocol):
    """A loss that adds up: over the parts of a step, whatever the parts are."""

    def __call__(
        self, model: Callable[..., ModelOutput], batch: Batch, targets: int | torch.Tensor
    ) -> torch.Tensor:
        """The batch's summed loss over `targets`, the count of all parts together. []"""
        ...


def next_token(
    model: Callable[..., ModelOutput], batch: Batch, targets: int | torch.Tensor
) -> torch.Tensor:
    """Cross entropy of each window's next tokens, in float32."""
    logits: torch.Tensor | None = model(input_ids=batch.input_ids).logits
    assert logits is not None, "a causal language model gives logits"
    return token_loss(logits, batch.labels, targets)
