"""The loop over blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run_blocks(
    blocks: Iterable[nn.Module],
    x: torch.Tensor,
    *context: Any,
    checkpointing: bool = False,
    hidden_states: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Run blocks one after another.

    Args:
        blocks: each is called as `block(x, *context)`.
        x (Tensor): [b, s, d]
        context: what every block gets beside x.
        checkpointing: keep only each block's input for the backward pass and compute the rest
            again (Chen et al. 2016).
        hidden_states: where to append each block's input.

    Returns:
        [b, s, d], the last block's output
    """
    for block in blocks:
        if hidden_states is not None:
            hidden_states.append(x)
        if checkpointing:
            x = checkpoint(block, x, *context, use_reentrant=False)
        else:
            x = block(x, *context)
    return x
