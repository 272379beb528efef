"""The loss of a language model without the scores of all tokens in memory at once.

A vocabulary of 128,000 makes the logits of 16,000 tokens 8 GB in float32, and their gradient as
much again. Here some rows of states at a time become logits, a loss and, while the logits are
there, the gradients of what they were made of. So nothing is computed twice, as checkpointing
would, and what stays until the backward pass is as large as the states and the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tfcli.models.losses import IGNORED, mean_over

Head = Callable[[Tensor], Tensor]
"""From states [n, d] to logits [n, vocab], each row by itself."""

CHUNK = 1 << 25
"""Logits that are there at a time: 128 MB in float32."""


def chunked_token_loss(
    head: Head,
    states: Tensor,
    labels: Tensor,
    num_target_tokens: int | Tensor | None = None,
) -> Tensor:
    """`losses.token_loss(head(states), labels, num_target_tokens)`, a chunk of rows at a time.

    It has gradients for the states and for every parameter that the head's graph reaches, whoever
    owns it, and for these once: not of second order, nor by a second backward pass. Gradients of
    16-bit parameters are summed in float32. A compiler leaves it out of its graph.

    Args:
        head: without dropout; called once for each chunk and once more for a single row.
        states (Tensor): [b, s, d]
        labels (Tensor): [b, s]
        num_target_tokens: as in `token_loss`.

    Returns:
        []
    """
    if torch.compiler.is_compiling():
        # As a decorator it would import the compiler, which takes a second, into every command.
        return torch.compiler.disable(_in_chunks)(head, states, labels, num_target_tokens)
    return _in_chunks(head, states, labels, num_target_tokens)


def _in_chunks(
    head: Head, states: Tensor, labels: Tensor, num_target_tokens: int | Tensor | None
) -> Tensor:
    rows, flat = states.reshape(-1, states.shape[-1]), labels.reshape(-1)
    probe = head(rows[:1].detach())
    step = max(1, CHUNK // probe.shape[-1])
    total = _Summed.apply(head, step, rows, flat, *_parameters(probe))
    return mean_over(total, flat, num_target_tokens)


class _Summed(torch.autograd.Function):
    """The sum of the rows' losses, []. It is not divided before it has its gradients: those of a
    sum are near 1 and keep their digits in 16 bits, as those of a mean over many tokens do not."""

    @staticmethod
    def forward(
        ctx: Any, head: Head, step: int, states: Tensor, labels: Tensor, *parameters: Tensor
    ) -> Tensor:
        total = states.new_zeros((), dtype=torch.float32)
        to_states = ctx.needs_input_grad[2]
        if not (to_states or parameters):
            for part, wanted in _chunks(step, states, labels):
                total += _loss(head(part), wanted)
            return total
        of_states = torch.zeros_like(states) if to_states else None
        sums = [torch.zeros_like(each, dtype=torch.float32) for each in parameters]
        for at, (part, wanted) in enumerate(_chunks(step, states, labels)):
            part = part.detach().requires_grad_(to_states)
            with torch.enable_grad():
                loss = _loss(head(part), wanted)
            # Autocast is for the forward pass alone.
            with torch.autocast(states.device.type, enabled=False):
                found = list(
                    torch.autograd.grad(loss, [part, *parameters] if to_states else parameters)
                )
            total += loss.detach()
            if of_states is not None:
                of_states[at * step : at * step + len(part)] = found.pop(0)
            for summed, one in zip(sums, found, strict=True):
                summed += one
        ctx.gradients, ctx.dtypes = (of_states, sums), [each.dtype for each in parameters]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("a chunked loss has its gradients once: they were given away")
        (of_states, sums), ctx.gradients = ctx.gradients, None
        if of_states is not None:
            of_states *= gradient
        for summed in sums:
            summed *= gradient
        to_parameters = (each.to(dtype) for each, dtype in zip(sums, ctx.dtypes, strict=True))
        return None, None, of_states, None, *to_parameters


def _chunks(step: int, states: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(states.split(step), labels.split(step), strict=True)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")


def _parameters(output: Tensor) -> tuple[Tensor, ...]:
    """The tensors with gradients that `output` was computed from and that were not computed."""
    found, seen, waiting = [], set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return tuple(found)
