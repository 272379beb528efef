"""The loop over blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tfcli.models.blocks.few_rows import run_few
from tfcli.models.context import Context


def run_blocks(
    blocks: Iterable[nn.Module],
    x: torch.Tensor,
    context: Context,
    *more: Any,
    layer_drop: float = 0.0,
) -> torch.Tensor:
    """Run blocks one after another; in decoding by one call, where they are what it knows.

    With `context.checkpointing` only each block's input is kept for the backward pass, and the
    rest is computed again (Chen et al. 2016).

    Args:
        blocks: each is called as `block(x, context, *more)`.
        x (Tensor): [b, s, d]
        context: of the forward pass. Each block's input is recorded if it says so.
        more: what else every block gets.
        layer_drop: how likely a block is passed over in training (Fan et al. 2019).

    Returns:
        [b, s, d], the last block's output
    """
    if not more:
        few = run_few(blocks, x, context)
        if few is not None:
            return few
    for block in blocks:
        if context.hidden_states is not None:
            context.hidden_states.append(x)
        if context.checkpointing:
            out = checkpoint(block, x, context, *more, use_reentrant=False)
        else:
            out = block(x, context, *more)
        # A block that is passed over is computed all the same: where parameters are sharded, every
        # process must run it, and each draws for itself.
        if layer_drop and block.training:
            out = torch.where(torch.rand((), device=x.device) < layer_drop, x, out)
        x = out
    return x
