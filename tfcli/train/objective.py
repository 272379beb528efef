"""What training makes smaller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from tfcli.models.losses import with_aux_loss
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
    """Cross entropy of each window's next tokens, in float32, without all logits in memory.

    With gradients it is what training makes smaller, with the part that some families add.
    """
    output = model(
        input_ids=batch.input_ids,
        targets=batch.labels,
        num_target_tokens=targets,
        return_logits=False,
    )
    assert output.loss is not None, "a causal language model has a loss"
    added = output.aux_loss if torch.is_grad_enabled() else None
    return with_aux_loss(output.loss, added, batch.labels, targets)
