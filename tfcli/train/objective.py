"""What training makes smaller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from tfcli.models.losses import token_loss, with_aux_loss
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
    """Cross entropy of each window's next tokens, in float32.

    With gradients it is what training makes smaller, with the part that some families add.
    """
    output = model(input_ids=batch.input_ids)
    assert output.logits is not None, "a causal language model gives logits"
    loss = token_loss(output.logits, batch.labels, targets)
    added = output.aux_loss if torch.is_grad_enabled() else None
    return with_aux_loss(loss, added, batch.labels, targets)
