"""Token and position embeddings."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.errors import ModelError


class Embedding(nn.Embedding):
    """`nn.Embedding`. A row named by `padding_idx` gets no gradient, as in transformers."""

    def reset_parameters(self) -> None:
        """Random values, except on the meta device: there torch would import its compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()


def embed_inputs(
    table: nn.Embedding, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None
) -> torch.Tensor:
    """Look up ids, or take embeddings that the caller made.

    Args:
        table: [vocab, d]
        input_ids (Tensor): [b, s]
        inputs_embeds (Tensor): [b, s, d]

    Returns:
        [b, s, d]

    Raises:
        ModelError: both or neither were given.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ModelError("give exactly one of input_ids and inputs_embeds")
    return table(input_ids) if inputs_embeds is None else inputs_embeds


def check_length(length: int, limit: int) -> None:
    """Refuse more positions than a learned position table has rows."""
    if length > limit:
        raise ModelError(
            f"the input has {length} positions, but the model has {limit}",
            fix="cut the input, or use a shorter window",
        )
