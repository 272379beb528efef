"""Which key each query may see, built once a forward and shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from tfcli.models.errors import ModelError


@dataclass(eq=False)
class AttentionMask:
    """What attention backends need to know.

    Args:
        dense (Tensor): bool [b or 1, 1, q, k], True where a query may look; None when nothing but
            `causal` limits it, so that no mask need be in memory.
        causal: with `dense` None, query i sees keys 0..i.
    """

    dense: torch.Tensor | None = None
    causal: bool = False

    @cached_property
    def flex_block_mask(self) -> Any:
        """The same mask for flex_attention; None when every query sees every key."""
        from torch.nn.attention.flex_attention import create_block_mask

        dense = self.dense
        if dense is None:
            return None
        batch, _, queries, keys = dense.shape

        def visible(b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> Any:
            return dense[b, 0, q, k]

        return create_block_mask(visible, batch, None, queries, keys, device=dense.device)


def has_padding(attention_mask: torch.Tensor | None, batch: int, length: int) -> bool:
    """Whether a 0/1 mask hides anything.

    Args:
        attention_mask (Tensor): [b, k], 1 for a token, 0 for padding.
        batch: b of the input.
        length: k, the cached positions and the new ones.

    Raises:
        ModelError: the mask has another shape.
    """
    if attention_mask is None:
        return False
    if attention_mask.shape != (batch, length):
        raise ModelError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, expected {(batch, length)}",
            fix="give one 0 or 1 for each cached and each new position",
        )
    if torch.compiler.is_compiling():  # a compiled graph cannot branch on values
        return True
    return not bool(attention_mask.all())


def position_ids_of(
    padding: torch.Tensor | None, queries: int, past: int, device: torch.device
) -> torch.Tensor:
    """Count positions from each row's first real token, so that left padding shifts nothing.

    Args:
        padding (Tensor): [b, past + queries] of 0/1, or None where nothing is padded.
        queries: new positions.
        past: cached positions.
        device: of the input.

    Returns:
        [b or 1, queries]; padding counts as the position of the token before it
    """
    if padding is None:
        return torch.arange(past, past + queries, device=device)[None]
    return (padding.long().cumsum(-1) - 1).clamp_(min=0)[:, -queries:]


def causal_mask(
    padding: torch.Tensor | None, queries: int, past: int, device: torch.device
) -> AttentionMask:
    """The mask of a decoder.

    Args:
        padding (Tensor): [b, past + queries] of 0/1, or None.
        queries: new positions.
        past: cached positions.
        device: of the input.
    """
    if padding is None and past == 0:
        return AttentionMask(causal=queries > 1)
    if padding is None and queries == 1:
        return AttentionMask()
    keys = past + queries
    query_at = torch.arange(past, keys, device=device)
    dense = (query_at[:, None] >= torch.arange(keys, device=device)[None, :])[None, None]
    if padding is not None:
        dense = dense & padding.bool()[:, None, None, :]
    return AttentionMask(dense=_open_empty_rows(dense))


def full_mask(padding: torch.Tensor | None, queries: int) -> AttentionMask:
    """The mask of an encoder: everything but padding. padding (Tensor): [b, k] of 0/1."""
    if padding is None:
        return AttentionMask()
    dense = padding.bool()[:, None, None, :].expand(-1, 1, queries, -1)
    return AttentionMask(dense=_open_empty_rows(dense))


def _open_empty_rows(dense: torch.Tensor) -> torch.Tensor:
    """Let a query that may see nothing see everything: softmax over no key is NaN.

    Such a query is padding itself. What it computes reaches no token, since none may look at it.
    """
    return dense | ~dense.any(-1, keepdim=True)
