"""Going over the tokens one after the other, with a state that each of them changes."""

from __future__ import annotations

from collections.abc import Callable

import torch

Tensors = tuple[torch.Tensor, ...]


def recur(
    step: Callable[[Tensors, Tensors], tuple[Tensors, torch.Tensor]],
    state: Tensors,
    inputs: Tensors,
) -> tuple[Tensors, torch.Tensor]:
    """Take a step at each token.

    Args:
        step: the state and one token of each input, [b, ...] -> the next state, in new tensors,
            and the output, [b, ...].
        state (tuple[Tensor, ...]): before the first token.
        inputs (tuple[Tensor, ...]): each [b, s, ...].

    Returns:
        the state after the last token, and the outputs [b, s, ...]
    """
    if torch.compiler.is_exporting():  # one loop in the graph, for any number of tokens
        from torch._higher_order_ops.scan import scan

        return scan(step, state, inputs, dim=1)
    outputs = []
    for part in zip(*(each.unbind(1) for each in inputs), strict=True):
        state, output = step(state, part)
        outputs.append(output)
    return state, torch.stack(outputs, dim=1)
