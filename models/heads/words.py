"""What heads that predict words share: their logits, or the states in place of them, and a loss."""

from __future__ import annotations

import torch

from tfcli.models.chunked_loss import chunked_token_loss
from tfcli.models.losses import token_loss
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


def answer_words(
    model: Model,
    output: ModelOutput,
    states: torch.Tensor,
    targets: torch.Tensor | None,
    num_target_tokens: int | torch.Tensor | None,
    *,
    return_logits: bool,
) -> ModelOutput:
    """Fill in an output: the logits, or the states that they are computed from, and the loss.

    Args:
        model: computes the logits, by `Model.logits_of`.
        output: to be filled in.
        states (Tensor): [b, s, d]
        targets (Tensor): [b, s], what each position is to predict, or None.
        num_target_tokens: as in `losses.token_loss`.
        return_logits: without, there are never the logits of all positions at once.

    Returns:
        the same output
    """
    if return_logits:
        output.logits = model.logits_of(states)
        if targets is not None:
            output.loss = token_loss(output.logits, targets, num_target_tokens)
        return output
    output.last_hidden_state = states
    if targets is not None:
        output.loss = chunked_token_loss(model.logits_of, states, targets, num_target_tokens)
    return output
