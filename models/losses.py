"""What heads share: losses, and which positions get logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tfcli.models.errors import ModelError

IGNORED = -100  # a label that no loss counts


def last_positions(
    x: torch.Tensor, logits_to_keep: int, labels: torch.Tensor | None
) -> torch.Tensor:
    """Cut to the positions whose logits are wanted, before the large projection.

    Args:
        x (Tensor): [b, s, d]
        logits_to_keep: how many of the last positions; 0 keeps all.
        labels: given when a loss is computed, which needs all positions.
    """
    if logits_to_keep == 0:
        return x
    if labels is not None:
        raise ModelError("labels need the logits of every position", fix="leave out logits_to_keep")
    return x[:, -logits_to_keep:]


def token_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    num_target_tokens: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy over the labels that are not -100, in float32.

    Args:
        logits (Tensor): [b, s, vocab]
        labels (Tensor): [b, s]
        num_target_tokens: what the sum is divided by. None takes the labels counted here. With
            gradient accumulation, give the count of the whole window: then the parts' losses add
            up to the loss of one large batch, however ragged they are.

    Returns:
        []
    """
    summed = F.cross_entropy(
        logits.flatten(0, -2).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
    return mean_over(summed, labels, num_target_tokens)


def binary_token_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    num_target_tokens: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy of a yes or no for each token whose label is not -100, in float32.

    Args:
        logits (Tensor): [b, s]
        labels (Tensor): [b, s] of 0, 1 and -100.
        num_target_tokens: as in `token_loss`.

    Returns:
        []
    """
    counted = labels != IGNORED
    summed = F.binary_cross_entropy_with_logits(
        logits.float(), labels.clamp(min=0).float(), weight=counted.float(), reduction="sum"
    )
    return mean_over(summed, labels, num_target_tokens)


def mean_over(
    summed: torch.Tensor,
    labels: torch.Tensor,
    num_target_tokens: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """A summed loss over the labels that count, or over `num_target_tokens`; see `token_loss`."""
    if num_target_tokens is None:
        num_target_tokens = (labels != IGNORED).sum()
    return summed / num_target_tokens


def next_labels(labels: torch.Tensor, segment_ids: torch.Tensor | None = None) -> torch.Tensor:
    """What each position is to predict: the label one place on, and -100 at the end. [b, s]

    With `segment_ids` [b, s], the last token of a packed text predicts nothing.
    """
    # The labels move, not the logits: a slice of the logits would be a large copy.
    shifted = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    if segment_ids is not None:
        next_text = F.pad(segment_ids[:, 1:] != segment_ids[:, :-1], (0, 1), value=True)
        shifted = shifted.masked_fill(next_text, IGNORED)
    return shifted


def with_aux_loss(
    loss: torch.Tensor,
    aux_loss: torch.Tensor | None,
    targets: torch.Tensor,
    num_target_tokens: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Add what a backbone adds to the loss of its task.

    Args:
        loss (Tensor): of `token_loss`; [].
        aux_loss (Tensor): [], or None where there is none.
        targets (Tensor): the labels that `token_loss` took.
        num_target_tokens: as there. Each part of a large batch then adds its share, so that the
            parts add up to one mean over them and not to as many as there are.

    Returns:
        []
    """
    if aux_loss is None:
        return loss
    if num_target_tokens is None:
        return loss + aux_loss
    return loss + aux_loss * ((targets != IGNORED).sum() / num_target_tokens)


def span_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean of two cross entropies: where a span begins and where it ends.

    Args:
        logits (Tensor): [b, s, 2]
        labels (Tensor): [b, 2]; a position outside the input counts for nothing.

    Returns:
        []; 0 where every position is outside
    """
    inside = (labels >= 0) & (labels < logits.shape[1])
    total = F.cross_entropy(
        logits.float(),
        labels.masked_fill(~inside, IGNORED),
        ignore_index=IGNORED,
        reduction="none",
    )
    return (total.sum(0) / inside.sum(0).clamp(min=1)).mean()


def classification_loss(
    logits: torch.Tensor, labels: torch.Tensor, problem_type: str | None
) -> torch.Tensor:
    """The loss of a sequence classifier, chosen as transformers does.

    Args:
        logits (Tensor): [b, labels]
        labels (Tensor): integers [b] for single-label classification, floats [b, labels] for
            multi-label classification, floats [b] or [b, labels] for regression.
        problem_type: the config's. None: one label is regression, integers are single-label,
            floats multi-label.

    Returns:
        []
    """
    if problem_type is None:
        if logits.shape[-1] == 1:
            problem_type = "regression"
        elif labels.dtype in (torch.long, torch.int):
            problem_type = "single_label_classification"
        else:
            problem_type = "multi_label_classification"
    if problem_type == "regression":
        predicted = logits.float().squeeze(-1)
        return F.mse_loss(predicted, labels.float().view_as(predicted))
    if problem_type == "single_label_classification":
        return F.cross_entropy(logits.float(), labels.view(-1))
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())
