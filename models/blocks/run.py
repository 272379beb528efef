"""The loop over blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tfcli.models.context import Context


def run_blocks(
    blocks: Iterable[nn.Module], x: torch.Tensor, context: Context, *more: Any
) -> torch.Tensor:
    """Run blocks one after another.

    With `context.checkpointing` only each block's input is kept for the backward pass, and the
    rest is computed again (Chen et al. 2016).

    Args:
        blocks: each is called as `block(x, context, *more)`.
        x (Tensor): [b, s, d]
        context: of the forward pass. Each block's input is recorded if it says so.
        more: what else every block gets.

    Returns:
        [b, s, d], the last block's output
    """
    for block in blocks:
        if context.hidden_states is not None:
            context.hidden_states.append(x)
        if context.checkpointing:
            x = checkpoint(block, x, context, *more, use_reentrant=False)
        else:
            x = block(x, context, *more)
    return x
